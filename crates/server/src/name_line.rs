//! One line in the log for each push and pull of a name: who, what, how large what it points to is, how long it took, and
//! what came of it; with what the client says of its tool, if it does.
//!
//! **Invariant:** what a client chose is a field of its own, bounded, and written quoted: it cannot look like another line, or
//! like another field.

use std::net::IpAddr;
use std::time::Instant;

use millpond_cache::{Digest, Error, Published};
use tonic::Request;

use crate::caller::{Caller, RequestId};
use crate::request_metadata;
use crate::said::Said;

/// What is logged of names stands apart from the rest of the log, so that it can be had or left out for itself.
const TARGET: &str = "millpond_names";
/// Of a name.
const NAME_CHARACTERS_MAX: usize = 300;
/// Of each part of what a client says of itself.
const PART_CHARACTERS_MAX: usize = 100;

static SAID: Said = Said::new();

/// Pushes, or pulls; and whether of action results, of which a build asks for thousands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Looks a name up.
    Pull,
    /// Gives a name a value.
    Push,
    /// Looks an action result up.
    PullResult,
    /// Publishes one.
    PushResult,
}

/// A line that is written when it is dropped, and says what came of it by then.
#[derive(Debug)]
pub(crate) struct NameLine(Option<Box<Line>>);

#[derive(Debug)]
struct Line {
    deed: Deed,
    is_known: bool,
    began: Instant,
    request: RequestId,
    identity: String,
    address: Option<IpAddr>,
    name: String,
    more_names: usize,
    tool: Tool,
    bytes: Option<u64>,
    result: &'static str,
}

/// What a client says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tool {
    tool: Option<String>,
    version: Option<String>,
    invocation: Option<String>,
    action: Option<String>,
}

impl Deed {
    fn is_logged(self) -> bool {
        match self {
            Self::Pull | Self::Push => tracing::enabled!(target: TARGET, tracing::Level::INFO),
            Self::PullResult | Self::PushResult => tracing::enabled!(target: TARGET, tracing::Level::DEBUG),
        }
    }
}

impl NameLine {
    /// A call begins that is about these names. One without names asks only whether the service is there.
    pub(crate) fn begin<T>(
        request: &Request<T>,
        deed: Deed,
        names: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Self {
        if !deed.is_logged() {
            return Self(None);
        }
        let mut names = names.into_iter();
        let Some(name) = names.next() else { return Self(None) };
        let caller = Caller::of(request.extensions());
        let line = Line {
            deed,
            is_known: caller.access.has_grants(),
            began: Instant::now(),
            request: caller.request,
            identity: caller.name().to_owned(),
            address: caller.client.address,
            name: bounded(name.as_ref(), NAME_CHARACTERS_MAX),
            more_names: names.count(),
            tool: Tool::of(request),
            bytes: None,
            result: "broken off",
        };
        Self(Some(Box::new(line)))
    }

    /// It came to this.
    pub(crate) fn pulled<T>(mut self, found: &Result<T, Error>, digest: impl FnOnce(&T) -> Option<Digest>) {
        let Some(line) = &mut self.0 else { return };
        line.result = match found {
            Ok(found) => {
                line.bytes = digest(found).map(|digest| digest.size());
                "hit"
            }
            Err(Error::NotFound(_)) => "miss",
            Err(_) => "refused",
        };
    }

    /// It came to this: an action has a result.
    pub(crate) fn pushed_result<T>(mut self, pushed: &Result<T, Error>) {
        let Some(line) = &mut self.0 else { return };
        line.result = if pushed.is_ok() { "whole" } else { "refused" };
    }

    /// It came to this: names for a blob or a tree.
    pub(crate) fn pushed(mut self, digest: Option<Digest>, published: &Result<Published, Error>) {
        let Some(line) = &mut self.0 else { return };
        line.bytes = digest.map(|digest| digest.size());
        line.result = match published {
            Ok(Published::Whole) => "whole",
            Ok(Published::Pending) => "pending",
            Ok(Published::Kept) => "kept as it was",
            Err(_) => "refused",
        };
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let Self { deed, is_known, began, request, identity, address, name, more_names, tool, bytes, result } =
            self;
        // Strangers who are refused could write as much as they like.
        let left_out =
            if *is_known || *result != "refused" { Some(0) } else { SAID.pass(*address, "", "refused") };
        let Some(left_out) = left_out else { return };
        let milliseconds = began.elapsed().as_micros() as f64 / 1000.0;
        let Tool { tool, version, invocation, action } = tool;
        macro_rules! line {
            ($level:ident, $words:literal) => {
                tracing::$level!(
                    target: TARGET,
                    name,
                    more_names = (*more_names > 0).then_some(*more_names),
                    result,
                    bytes,
                    milliseconds,
                    left_out = (left_out > 0).then_some(left_out),
                    identity = (!identity.is_empty()).then_some(identity.as_str()),
                    address = address.map(tracing::field::display),
                    tool,
                    version,
                    invocation,
                    action,
                    %request,
                    $words
                )
            };
        }
        match deed {
            Deed::Pull => line!(info, "pull"),
            Deed::Push => line!(info, "push"),
            Deed::PullResult => line!(debug, "pull"),
            Deed::PushResult => line!(debug, "push"),
        }
    }
}

impl Tool {
    fn of<T>(request: &Request<T>) -> Self {
        let Some(metadata) = request_metadata::of(request.metadata().as_ref()) else {
            return Self::default();
        };
        let tool = metadata.tool_details.unwrap_or_default();
        let said = |text: &str| bounded(text.trim(), PART_CHARACTERS_MAX);
        let part = |text: &str| Some(said(text)).filter(|said| !said.is_empty());
        Self {
            tool: part(&tool.tool_name),
            version: part(&tool.tool_version),
            invocation: part(&metadata.tool_invocation_id),
            action: part(&metadata.action_id),
        }
    }
}

fn bounded(text: &str, characters: usize) -> String {
    let fit = |letter| if turns_text(letter) { char::REPLACEMENT_CHARACTER } else { letter };
    text.chars().take(characters).map(fit).collect()
}

/// Whether a letter is none but does something to a terminal, or to the order of those around it.
fn turns_text(letter: char) -> bool {
    let turns = matches!(letter, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || letter.is_control()
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_proto::reapi::{RequestMetadata, ToolDetails};
    use prost::Message as _;
    use tonic::metadata::MetadataValue;

    fn request(encoded: &[u8]) -> Request<()> {
        let mut request = Request::new(());
        request.metadata_mut().insert_bin(request_metadata::HEADER, MetadataValue::from_bytes(encoded));
        request
    }

    fn metadata(name: &str) -> RequestMetadata {
        let tool_details = Some(ToolDetails { tool_name: name.into(), tool_version: "2.8.1".into() });
        RequestMetadata { tool_details, tool_invocation_id: "abc".into(), ..Default::default() }
    }

    #[test]
    fn what_a_client_says_of_itself_is_read_within_bounds() {
        let tool = Tool::of(&request(&metadata("bst").encode_to_vec()));
        let wanted = Tool {
            tool: Some("bst".into()),
            version: Some("2.8.1".into()),
            invocation: Some("abc".into()),
            action: None,
        };
        assert_eq!(tool, wanted);
        let long = Tool::of(&request(&metadata(&"x".repeat(1000)).encode_to_vec()));
        assert_eq!(long.tool.unwrap().len(), PART_CHARACTERS_MAX);
        let longer = Tool::of(&request(&metadata(&"x".repeat(10_000)).encode_to_vec()));
        assert_eq!(longer, Tool::default());
    }

    #[test]
    fn garbage_says_nothing() {
        for garbage in [&b"\xff\xff\xff\xff"[..], b"\x0a\x7f", &[0; 300]] {
            assert_eq!(Tool::of(&request(garbage)), Tool::default());
        }
        let mut headers = http::HeaderMap::new();
        headers.insert(request_metadata::HEADER, http::HeaderValue::from_static("!!!no base64!!!"));
        let metadata = tonic::metadata::MetadataMap::from_headers(headers);
        let request = Request::from_parts(metadata, Default::default(), ());
        assert_eq!(Tool::of(&request), Tool::default());
    }
}
