//! A message that is kept as it was encoded.
//!
//! **Invariant:** encoding yields the very bytes that decoding was given, fields that we do not know included. What the
//! bytes mean is for those to ask who need to know: they decode them as [`crate::reapi::ActionResult`].

use bytes::{Buf, BufMut, Bytes};
use prost::encoding::{DecodeContext, WireType, encode_key, skip_field};
use prost::{DecodeError, Message};

/// An `ActionResult` on its way through, byte for byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncodedActionResult(Bytes);

impl EncodedActionResult {
    /// The encoded message.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl From<Bytes> for EncodedActionResult {
    /// Takes an encoded `ActionResult`, unchecked.
    fn from(encoded: Bytes) -> Self {
        Self(encoded)
    }
}

impl Message for EncodedActionResult {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }

    /// Takes all of `buf`: a merge of two encodings is one after the other, by the encoding's own rules.
    fn merge(&mut self, mut buf: impl Buf) -> Result<(), DecodeError> {
        let added = buf.copy_to_bytes(buf.remaining());
        self.0 = if self.0.is_empty() { added } else { [&self.0[..], &added[..]].concat().into() };
        Ok(())
    }

    /// Keeps one field: its value as it is, its key in the shortest form, which is how everybody writes it.
    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        let mut kept = self.0.to_vec();
        encode_key(tag, wire_type, &mut kept);
        skip_field(wire_type, tag, &mut Keep { from: buf, kept: &mut kept }, ctx)?;
        self.0 = kept.into();
        Ok(())
    }
}

/// Copies what is read through it.
struct Keep<'a, B> {
    from: &'a mut B,
    kept: &'a mut Vec<u8>,
}

impl<B: Buf> Buf for Keep<'_, B> {
    fn remaining(&self) -> usize {
        self.from.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.from.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.kept.put((&mut *self.from).take(count));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reapi::{ActionResult, OutputFile, UpdateActionResultRequest};

    /// A result with a field 4000 and a group 4001 that no version of the API has, out of order, and with a varint
    /// longer than it need be.
    fn strange_result() -> Bytes {
        let mut encoded = vec![0x82, 0xfa, 0x01, 3, b'o', b'd', b'd'];
        encoded.extend([0x8b, 0xfa, 0x01, 0x08, 0x81, 0x00, 0x8c, 0xfa, 0x01]);
        let file = OutputFile { path: "out".into(), ..Default::default() };
        let known = ActionResult { output_files: vec![file], exit_code: 300, ..Default::default() };
        known.encode(&mut encoded).unwrap();
        encoded.extend([0x20, 0x87, 0x80, 0x00]);
        encoded.into()
    }

    #[test]
    fn roundtrip_keeps_unknown_fields_and_order() {
        let sent = strange_result();
        let kept = EncodedActionResult::decode(sent.clone()).unwrap();
        assert_eq!(kept.encode_to_vec(), sent);
        assert_eq!(ActionResult::decode(kept.into_bytes()).unwrap().exit_code, 7);
    }

    #[test]
    fn roundtrip_field_by_field_keeps_unknown_fields_and_order() {
        let sent = strange_result();
        let mut framed = vec![sent.len() as u8];
        framed.extend(&sent[..]);
        let mut kept = EncodedActionResult::default();
        kept.merge_length_delimited(&framed[..]).unwrap();
        assert_eq!(kept.into_bytes(), sent);
    }

    #[test]
    fn update_request_keeps_the_result_as_sent() {
        let sent = strange_result();
        let mut request = vec![0x1a, sent.len() as u8];
        request.extend(&sent[..]);
        let decoded = UpdateActionResultRequest::decode(&request[..]).unwrap();
        assert_eq!(decoded.action_result, sent);
        assert_eq!(decoded.encode_to_vec(), request);
    }

    #[test]
    fn truncated_field_is_an_error() {
        let mut kept = EncodedActionResult::default();
        kept.merge_length_delimited(&[3, 0x2a, 5, b'x'][..]).unwrap_err();
    }
}
