//! One call, ready to be sent again and again.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use super::Expect;

/// Flag and length before each message.
pub(super) const HEAD_BYTES: usize = 5;

/// The methods that are called.
pub(crate) mod method {
    pub(crate) const ACTION_GET: &str = "/build.bazel.remote.execution.v2.ActionCache/GetActionResult";
    pub(crate) const ACTION_UPDATE: &str = "/build.bazel.remote.execution.v2.ActionCache/UpdateActionResult";
    pub(crate) const ASSET_FETCH: &str = "/build.bazel.remote.asset.v1.Fetch/FetchBlob";
    pub(crate) const ASSET_PUSH: &str = "/build.bazel.remote.asset.v1.Push/PushBlob";
    pub(crate) const BATCH_READ: &str =
        "/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchReadBlobs";
    pub(crate) const BATCH_UPDATE: &str =
        "/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchUpdateBlobs";
    pub(crate) const CAPABILITIES: &str = "/build.bazel.remote.execution.v2.Capabilities/GetCapabilities";
    pub(crate) const FIND_MISSING: &str =
        "/build.bazel.remote.execution.v2.ContentAddressableStorage/FindMissingBlobs";
    pub(crate) const GET_TREE: &str = "/build.bazel.remote.execution.v2.ContentAddressableStorage/GetTree";
    pub(crate) const READ: &str = "/google.bytestream.ByteStream/Read";
    pub(crate) const REFERENCE_GET: &str = "/buildstream.v2.ReferenceStorage/GetReference";
    pub(crate) const REFERENCE_UPDATE: &str = "/buildstream.v2.ReferenceStorage/UpdateReference";
    pub(crate) const WRITE: &str = "/google.bytestream.ByteStream/Write";
}

/// A method, the messages that it is sent, and what it must answer.
#[derive(Clone)]
pub(crate) struct Call {
    pub(super) method: &'static str,
    pub(super) frames: Vec<Bytes>,
    pub(super) expect: Expect,
}

impl Call {
    /// A call with one message.
    pub(crate) fn new(method: &'static str, request: &impl Message, expect: Expect) -> Self {
        Self { method, frames: vec![Self::frame(request)], expect }
    }

    /// A call with several messages, each made by [`Call::frame`].
    pub(crate) fn stream(method: &'static str, frames: Vec<Bytes>, expect: Expect) -> Self {
        Self { method, frames, expect }
    }

    /// One message as it goes over the wire.
    pub(crate) fn frame(message: &impl Message) -> Bytes {
        let length = message.encoded_len();
        let mut frame = BytesMut::with_capacity(HEAD_BYTES + length);
        frame.put_u8(0);
        // A message of 4 GiB and more is none of ours.
        frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
        message.encode_raw(&mut frame);
        frame.freeze()
    }
}

#[cfg(test)]
mod tests {
    use millpond_proto::bytestream::WriteResponse;

    use super::*;

    #[test]
    fn frame_is_flag_length_and_message() {
        let frame = Call::frame(&WriteResponse { committed_size: 300 });
        assert_eq!(&frame[..], [0, 0, 0, 0, 3, 0x08, 0xac, 0x02]);
    }
}
