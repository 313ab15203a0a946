//! What single generations of clients need, in one small module each, with the client and version that need it.
//!
//! A client is known by its `user-agent` alone, before it has said anything else. Whoever is not recognised is served
//! as the specifications say.

pub(crate) mod buildstream1;
pub(crate) mod casd;

use http::HeaderMap;
use http::header::USER_AGENT;

/// Which generation of clients is calling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Generation {
    /// gRPC for Python: BuildStream 1; from BuildStream 2.0 to 2.2 also the asset calls, where nothing depends on it.
    BuildStream1,
    /// Everybody else: gRPC for C++, which is buildbox-casd and with it BuildStream 2, and those we do not know.
    Other,
}

impl Generation {
    /// By a call's headers.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let agent = headers.get(USER_AGENT).map(|value| value.as_bytes()).unwrap_or_default();
        // An application's own words come first in the header, so any word counts.
        if agent.split(|byte| *byte == b' ').any(|word| word.starts_with(b"grpc-python/")) {
            Self::BuildStream1
        } else {
            Self::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(agent: &str) -> Generation {
        Generation::of(&HeaderMap::from_iter([(USER_AGENT, agent.parse().unwrap())]))
    }

    #[test]
    fn generations_are_told_apart_by_user_agent() {
        assert_eq!(generation("grpc-python/1.62.1 grpc-c/39.0.0 (linux; chttp2)"), Generation::BuildStream1);
        assert_eq!(generation("bst/1.6 grpc-python/1.62.1"), Generation::BuildStream1);
        assert_eq!(generation("grpc-c++/1.81.1 grpc-c/54.0.0 (linux; chttp2)"), Generation::Other);
        assert_eq!(generation("bazel/7 grpc-java-netty/1.48"), Generation::Other);
        assert_eq!(Generation::of(&HeaderMap::new()), Generation::Other);
    }
}
