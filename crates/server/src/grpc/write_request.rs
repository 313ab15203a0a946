//! `google.bytestream.WriteRequest`, its data in the pieces in which it came.

use bytes::Buf;
use prost::encoding::{self, DecodeContext, WireType};
use tonic::Status;

use super::messages::Pieces;
use crate::status;

/// One message of an upload.
#[derive(Debug, Default)]
pub(super) struct WriteRequest {
    pub(super) resource_name: String,
    pub(super) write_offset: i64,
    pub(super) finish_write: bool,
    pub(super) data: Pieces,
}

impl WriteRequest {
    /// Reads a message. What is malformed is INVALID_ARGUMENT.
    pub(super) fn decode(mut message: Pieces) -> Result<Self, Status> {
        let mut request = Self::default();
        while message.has_remaining() {
            request.merge_field(&mut message).ok_or_else(status::malformed)?;
        }
        Ok(request)
    }

    fn merge_field(&mut self, message: &mut Pieces) -> Option<()> {
        let context = DecodeContext::default();
        let (tag, kind) = encoding::decode_key(message).ok()?;
        match tag {
            1 => encoding::string::merge(kind, &mut self.resource_name, message, context).ok(),
            2 => encoding::int64::merge(kind, &mut self.write_offset, message, context).ok(),
            3 => encoding::bool::merge(kind, &mut self.finish_write, message, context).ok(),
            10 if kind == WireType::LengthDelimited => {
                let bytes = usize::try_from(encoding::decode_varint(message).ok()?).ok()?;
                self.data = message.take_first(bytes)?;
                Some(())
            }
            10 => None,
            _ => encoding::skip_field(kind, tag, message, context).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use millpond_proto::bytestream;
    use prost::Message;

    fn decode(encoded: &[u8], piece: usize) -> Result<WriteRequest, Status> {
        WriteRequest::decode(encoded.chunks(piece).map(Bytes::copy_from_slice).collect())
    }

    fn example() -> Vec<u8> {
        let sent = bytestream::WriteRequest {
            resource_name: "uploads/x/blobs/y/3".into(),
            write_offset: 1 << 40,
            finish_write: true,
            data: Bytes::from(vec![7; 300]),
        };
        sent.encode_to_vec()
    }

    #[test]
    fn every_field_is_found_however_the_message_is_cut_and_ordered() {
        let encoded = example();
        // The data, an unknown field, then the others.
        let at = encoded.iter().position(|byte| *byte == 0x52).unwrap();
        let turned = [&encoded[at..], &[0x22, 1, 9], &encoded[..at]].concat();
        for encoded in [encoded, turned] {
            for piece in [1, 3, 64, 1000] {
                let found = decode(&encoded, piece).unwrap();
                assert_eq!((&*found.resource_name, found.write_offset), ("uploads/x/blobs/y/3", 1 << 40));
                assert!(found.finish_write);
                assert_eq!(found.data.into_iter().flatten().collect::<Vec<u8>>(), [7; 300]);
            }
        }
    }

    #[test]
    fn what_is_no_message_is_an_error_as_it_is_to_the_generated_one() {
        let encoded = example();
        let cut = (1..encoded.len()).map(|length| encoded[..length].to_vec());
        let others = [
            &[0x50, 1][..],
            &[0x52, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            &[0x0a, 1, 0xff],
            &[7],
        ];
        for bad in cut.chain(others.map(<[u8]>::to_vec)) {
            let generated = bytestream::WriteRequest::decode(&bad[..]);
            assert_eq!(decode(&bad, 7).is_ok(), generated.is_ok(), "{bad:?}");
        }
    }
}
