//! The wire: `.proto` files and the code generated from them, nothing else.
//!
//! **Invariant:** what must reach a client as another client sent it is never decoded and encoded again on the way.
//! Such messages are `Bytes` here ([`reapi::UpdateActionResultRequest::action_result`],
//! [`reapi::GetTreeResponse::directories`]) or keep their encoding ([`EncodedActionResult`]), while
//! [`FILE_DESCRIPTOR_SET`] shows them to clients as the messages that they are.

mod digest;
mod encoded;

pub use digest::{Digest, HashText};
pub use encoded::EncodedActionResult;

/// All services that clients are served and their messages, with everything they import, as an encoded `google.protobuf.FileDescriptorSet`.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The same of [`admin`].
pub const ADMIN_FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/admin_descriptors.bin"));

macro_rules! generated {
    ($package:literal) => {
        include!(concat!(env!("OUT_DIR"), "/", $package, ".rs"));
    };
}

#[allow(
    missing_docs,
    unreachable_pub,
    rustdoc::all,
    clippy::all,
    reason = "generated code has its generator's habits, and its documentation is the .proto files"
)]
mod generated {
    pub mod google {
        pub mod bytestream {
            generated!("google.bytestream");
        }
        pub mod rpc {
            generated!("google.rpc");
        }
    }
    pub mod build {
        pub mod bazel {
            pub mod semver {
                generated!("build.bazel.semver");
            }
            pub mod remote {
                pub mod asset {
                    pub mod v1 {
                        generated!("build.bazel.remote.asset.v1");
                    }
                }
                pub mod execution {
                    pub mod v2 {
                        generated!("build.bazel.remote.execution.v2");
                    }
                }
            }
        }
    }
    pub mod buildstream {
        pub mod v2 {
            generated!("buildstream.v2");
        }
    }
    pub mod opentelemetry {
        pub mod proto {
            pub mod common {
                pub mod v1 {
                    generated!("opentelemetry.proto.common.v1");
                }
            }
            pub mod resource {
                pub mod v1 {
                    generated!("opentelemetry.proto.resource.v1");
                }
            }
            pub mod trace {
                pub mod v1 {
                    generated!("opentelemetry.proto.trace.v1");
                }
            }
            pub mod metrics {
                pub mod v1 {
                    generated!("opentelemetry.proto.metrics.v1");
                }
            }
            pub mod collector {
                pub mod trace {
                    pub mod v1 {
                        generated!("opentelemetry.proto.collector.trace.v1");
                    }
                }
                pub mod metrics {
                    pub mod v1 {
                        generated!("opentelemetry.proto.collector.metrics.v1");
                    }
                }
            }
        }
    }
    pub mod millpond {
        pub mod admin {
            pub mod v1 {
                generated!("millpond.admin.v1");
            }
        }
    }
}

pub use generated::build::bazel::remote::asset::v1 as asset;

/// `build.bazel.remote.execution.v2`.
pub mod reapi {
    pub use super::Digest;
    pub use super::generated::build::bazel::remote::execution::v2::*;
}

pub use generated::build::bazel::semver;
pub use generated::buildstream::v2 as buildstream;
pub use generated::google::{bytestream, rpc};
pub use generated::millpond::admin::v1 as admin;

/// What is told to others of how this server is: OTLP, the protocol of OpenTelemetry.
pub mod otlp {
    pub use super::generated::opentelemetry::proto::collector::metrics::v1 as metrics_service;
    pub use super::generated::opentelemetry::proto::collector::trace::v1 as trace_service;
    pub use super::generated::opentelemetry::proto::common::v1 as common;
    pub use super::generated::opentelemetry::proto::metrics::v1 as metrics;
    pub use super::generated::opentelemetry::proto::resource::v1 as resource;
    pub use super::generated::opentelemetry::proto::trace::v1 as trace;
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    #[test]
    fn descriptors_show_encoded_messages_as_what_they_are() {
        let set = prost_types::FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
        let package = "build.bazel.remote.execution.v2";
        let file = set.file.iter().find(|file| file.package() == package).unwrap();
        let update =
            file.message_type.iter().find(|found| found.name() == "UpdateActionResultRequest").unwrap();
        let result = update.field.iter().find(|field| field.name() == "action_result").unwrap();
        assert_eq!(result.type_name(), format!(".{package}.ActionResult"));
        let cache = file.service.iter().find(|service| service.name() == "ActionCache").unwrap();
        for method in &cache.method {
            assert_eq!(method.output_type(), format!(".{package}.ActionResult"));
        }
    }
}
