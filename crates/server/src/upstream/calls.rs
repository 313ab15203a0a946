//! Calls to another server: each with a deadline, tried again where that may help, until it is given up.

use std::error::Error as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use millpond_cache::Trouble;
use tokio::time::{sleep, timeout};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Code, Request, Response, Status};

/// For so long it may say nothing, ...
pub(super) const SILENCE: Duration = Duration::from_secs(30);
/// ... and so many bytes it sends in a second, or is given up.
const PACE: u64 = 16 << 10;
/// A call that met no server is made again after each of these, in milliseconds: about as long as one takes to start again.
const PAUSES_MS: [u64; 4] = [500, 1000, 2000, 4000];
/// After so many calls on end that came to nothing, it is given up.
const FAILURES_MAX: u32 = 3;
/// So much is told of what it says.
const WORDS_MAX: usize = 300;

/// How calls are made, and how they went.
#[derive(Debug)]
pub(super) struct Calls {
    authorization: Option<MetadataValue<Ascii>>,
    failures: AtomicU32,
    last: Mutex<Trouble>,
}

/// Why a call came to nothing.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It, or the connection to it, said so.
    Said(Status),
    /// Nothing came within the deadline.
    Silent,
    /// It was given up before.
    Lost(Trouble),
}

impl Refusal {
    pub(super) fn code(&self) -> Option<Code> {
        match self {
            Self::Said(status) => Some(status.code()),
            Self::Silent | Self::Lost(_) => None,
        }
    }

    /// Whether no call will be answered, as far as the first one tells.
    pub(super) fn is_of_all(&self) -> bool {
        self.is_no_answer() || matches!(self.code(), Some(Code::PermissionDenied | Code::Unauthenticated))
    }

    fn is_no_answer(&self) -> bool {
        self.code().is_none() || self.may_pass()
    }

    /// Whether the same call may well be answered in a moment.
    fn may_pass(&self) -> bool {
        // What came from the server itself has no source.
        matches!(self, Self::Said(status) if status.code() == Code::Unavailable || status.source().is_some())
    }

    /// What is told of it.
    pub(super) fn words(&self) -> Trouble {
        let status = match self {
            Self::Said(status) => status,
            Self::Silent => return format!("it is silent for {} s", SILENCE.as_secs()),
            Self::Lost(why) => return why.clone(),
        };
        let remedy = match status.code() {
            // Its own advice is for BuildStream.
            Code::PermissionDenied | Code::Unauthenticated => {
                "; it is shown what --client-cert and --client-key, or --token-file, name"
            }
            _ => "",
        };
        format!("{}{remedy}", said(status))
    }
}

/// What another server, or the connection to it, says, in one line and not all of it.
pub(crate) fn said(status: &Status) -> String {
    let mut source = status.source();
    let mut deepest = None;
    while let Some(error) = source {
        deepest = Some(error.to_string());
        source = error.source();
    }
    let words = deepest.unwrap_or_else(|| status.message().to_owned());
    let plain = |character: char| if character.is_control() { ' ' } else { character };
    let words: String = words.chars().take(WORDS_MAX).map(plain).collect();
    format!("{words} ({:?})", status.code())
}

/// For how long so many bytes may take.
pub(super) fn time_for(bytes: u64) -> Duration {
    SILENCE + Duration::from_secs(bytes / PACE)
}

impl Calls {
    /// Calls that show this token, if it is not empty; `None` if it can be none.
    pub(super) fn new(token: &str) -> Option<Self> {
        let authorization = if token.is_empty() {
            None
        } else {
            let mut value = MetadataValue::try_from(format!("Bearer {token}")).ok()?;
            value.set_sensitive(true);
            Some(value).filter(|_| !token.contains(char::is_whitespace))?.into()
        };
        Some(Self { authorization, failures: AtomicU32::new(0), last: Mutex::default() })
    }

    /// A request with this message.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        request
    }

    /// Makes a call whose answer has about so many bytes.
    pub(super) async fn ask<T, Call>(&self, bytes: u64, call: impl Fn() -> Call) -> Result<T, Refusal>
    where
        Call: Future<Output = Result<Response<T>, Status>>,
    {
        let mut tries = Tries::default();
        loop {
            self.go_on()?;
            let refusal = match timeout(time_for(bytes), call()).await {
                Ok(Ok(answer)) => {
                    self.answered();
                    return Ok(answer.into_inner());
                }
                Ok(Err(status)) => Refusal::Said(status),
                Err(_) => Refusal::Silent,
            };
            tries.again(self, refusal).await?;
        }
    }

    /// Why it was given up, if so.
    pub(super) fn lost(&self) -> Option<Trouble> {
        let lost = self.failures.load(Ordering::Relaxed) >= FAILURES_MAX;
        lost.then(|| self.last.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Nothing is asked of one that was given up.
    pub(super) fn go_on(&self) -> Result<(), Refusal> {
        self.lost().map_or(Ok(()), |why| Err(Refusal::Lost(why)))
    }

    /// It answered.
    pub(super) fn answered(&self) {
        if self.lost().is_none() {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    fn failed(&self, refusal: &Refusal) {
        if refusal.is_no_answer() {
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = refusal.words();
            self.failures.fetch_add(1, Ordering::Relaxed);
        } else {
            self.answered();
        }
    }
}

/// How often a call was tried.
#[derive(Debug, Default)]
pub(super) struct Tries(usize);

impl Tries {
    /// Waits until it is to be tried again, if it is.
    pub(super) async fn again(&mut self, calls: &Calls, refusal: Refusal) -> Result<(), Refusal> {
        match PAUSES_MS.get(self.0) {
            Some(pause) if refusal.may_pass() => {
                self.0 += 1;
                sleep(Duration::from_millis(*pause)).await;
                Ok(())
            }
            _ => {
                calls.failed(&refusal);
                Err(refusal)
            }
        }
    }

    /// It went on since.
    pub(super) fn begin_anew(&mut self) {
        self.0 = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_one_word_and_is_not_printed() {
        let calls = Calls::new("mp_1_secret").unwrap();
        let request = calls.request(());
        assert_eq!(request.metadata().get("authorization").unwrap(), "Bearer mp_1_secret");
        assert!(!format!("{calls:?} {request:?}").contains("secret"));
        for token in ["two words", "two\nlines", "a\u{7f}"] {
            assert!(Calls::new(token).is_none(), "{token:?}");
        }
        assert!(Calls::new("").unwrap().authorization.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn server_that_is_silent_is_given_up() {
        let calls = Calls::new("").unwrap();
        let silent = || std::future::pending::<Result<Response<()>, Status>>();
        for _ in 0..FAILURES_MAX {
            assert!(calls.lost().is_none());
            assert!(matches!(calls.ask(0, silent).await, Err(Refusal::Silent)));
        }
        assert!(calls.lost().unwrap().contains("silent"));
        // From then on nothing is asked, not even what would be answered.
        let answers = || async { Ok(Response::new(())) };
        assert!(matches!(calls.ask(0, answers).await, Err(Refusal::Lost(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn server_that_is_away_for_a_moment_is_asked_again() {
        let calls = Calls::new("").unwrap();
        let count = AtomicU32::new(0);
        let comes_back = || {
            let asked = count.fetch_add(1, Ordering::Relaxed);
            async move { if asked < 4 { Err(Status::unavailable("away")) } else { Ok(Response::new(7)) } }
        };
        assert_eq!(calls.ask(0, comes_back).await.unwrap(), 7);
        let refuses = || async { Err::<Response<()>, _>(Status::not_found("none")) };
        for _ in 0..5 {
            assert_eq!(calls.ask(0, refuses).await.unwrap_err().code(), Some(Code::NotFound));
        }
        assert!(calls.lost().is_none());
    }
}
