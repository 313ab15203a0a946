//! From content to stored frames and back: raw, or zstd for each frame by itself.
//!
//! A compressed frame decodes in one go into a buffer of exactly the content's length, so a frame that claims more,
//! whatever its window, costs no more memory than that. What the frames belong to is not known here; their checksums
//! were compared before anything is decoded.

use std::borrow::Cow;
use std::cell::RefCell;

use bytes::Bytes;

use super::format::{
    Encoding, FRAME_SIZE, FrameEntry, FrameTable, Place, RecordHeader, VolumeKeys, align, checksum_of,
    frame_count,
};
use crate::{Digest, Level};

/// Fast enough to keep up with a network, within a few percent of what much slower levels reach.
const ZSTD_LEVEL: i32 = 3;

thread_local! {
    // A context costs more to make than a small frame to decode.
    static DECODER: RefCell<Option<zstd_safe::DCtx<'static>>> = const { RefCell::new(None) };
    static ENCODER: RefCell<Option<zstd_safe::CCtx<'static>>> = const { RefCell::new(None) };
}

/// Appends a whole record, padding included, and returns its header. What does not get smaller by the encoding is
/// stored raw.
pub(super) fn encode_record(
    (keys, place, sequence, time): (&VolumeKeys, Place, u32, Level),
    digest: &Digest,
    content: &[u8],
    encoding: Encoding,
    out: &mut Vec<u8>,
) -> RecordHeader {
    let header = |encoding, stored, body_checksum| RecordHeader {
        digest: *digest,
        encoding,
        sequence,
        stored,
        time,
        body_checksum,
    };
    let header = if encoding == Encoding::Raw && frame_count(content.len() as u64) == 1 {
        // The usual case by far: nothing to gather first.
        let header = header(Encoding::Raw, content.len() as u64, checksum_of(content));
        header.encode(keys, place.pack, place.byte_offset(), out);
        out.extend_from_slice(content);
        header
    } else {
        let (encoding, frames) = encode_frames(content, encoding);
        let table = FrameTable(frames.iter().map(|frame| entry_of(frame)).collect());
        let table_bytes = table.encode();
        let frames_len: u64 = frames.iter().map(|frame| frame.len() as u64).sum();
        let header = header(encoding, frames_len + table_bytes.len() as u64, table.body_checksum());
        header.encode(keys, place.pack, place.byte_offset(), out);
        frames.iter().for_each(|frame| out.extend_from_slice(frame));
        out.extend_from_slice(&table_bytes);
        header
    };
    // Records start aligned, and the buffer starts with one.
    out.resize(usize::try_from(align(out.len() as u64)).unwrap_or(out.len()), 0);
    header
}

fn entry_of(frame: &[u8]) -> FrameEntry {
    FrameEntry { stored: u32::try_from(frame.len()).unwrap_or(u32::MAX), checksum: checksum_of(frame) }
}

fn encode_frames(content: &[u8], encoding: Encoding) -> (Encoding, Vec<Cow<'_, [u8]>>) {
    let pieces = || content.chunks(FRAME_SIZE as usize);
    if encoding == Encoding::Zstd {
        let compressed: Option<Vec<Cow<'_, [u8]>>> =
            pieces().map(|piece| compress(piece).map(Cow::Owned)).collect();
        if let Some(frames) = compressed
            && frames.iter().map(|frame| frame.len()).sum::<usize>() < content.len()
        {
            return (Encoding::Zstd, frames);
        }
    }
    if content.is_empty() {
        return (Encoding::Raw, vec![Cow::Borrowed(content)]);
    }
    (Encoding::Raw, pieces().map(Cow::Borrowed).collect())
}

/// A frame compressed, if that saves an eighth of it or more: less is not worth the time that every read takes.
pub(super) fn compress_where_it_pays(content: &[u8]) -> Option<Vec<u8>> {
    compress(content).filter(|frame| frame.len() <= content.len() / 8 * 7)
}

/// A frame compressed; `None` without the memory for it.
pub(super) fn compress(content: &[u8]) -> Option<Vec<u8>> {
    ENCODER.with_borrow_mut(|encoder| {
        if encoder.is_none() {
            *encoder = zstd_safe::CCtx::try_create();
        }
        let mut out = vec![0; zstd_safe::compress_bound(content.len())];
        let len = encoder.as_mut()?.compress(out.as_mut_slice(), content, ZSTD_LEVEL).ok()?;
        out.truncate(len);
        Some(out)
    })
}

/// The content of a stored frame, which is `content_len` bytes long; `None` if it does not decode to just that.
pub(super) fn decode_frame(encoding: Encoding, stored: Bytes, content_len: usize) -> Option<Bytes> {
    match encoding {
        Encoding::Raw => (stored.len() == content_len).then_some(stored),
        Encoding::Zstd => DECODER.with_borrow_mut(|decoder| {
            if decoder.is_none() {
                *decoder = zstd_safe::DCtx::try_create();
            }
            let mut content = vec![0; content_len];
            let len = decoder.as_mut()?.decompress(content.as_mut_slice(), &stored).ok()?;
            (len == content_len).then(|| Bytes::from(content))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn compressed_frames_decode_to_what_they_were() {
        let content: Vec<u8> = (0..300_000_u32).flat_map(|number| (number / 7).to_le_bytes()).collect();
        let (encoding, frames) = encode_frames(&content, Encoding::Zstd);
        assert_eq!((encoding, frames.len()), (Encoding::Zstd, 2));
        let mut back = Vec::new();
        for (frame, piece) in frames.iter().zip(content.chunks(FRAME_SIZE as usize)) {
            let stored = Bytes::copy_from_slice(frame);
            back.extend_from_slice(&decode_frame(encoding, stored, piece.len()).unwrap());
        }
        assert_eq!(back, content);
    }

    #[test]
    fn what_does_not_get_smaller_stays_raw() {
        let content = Random::new(1).bytes(1000);
        assert_eq!(encode_frames(&content, Encoding::Zstd).0, Encoding::Raw);
        assert_eq!(encode_frames(&[], Encoding::Zstd).0, Encoding::Raw);
    }

    #[test]
    fn frame_that_holds_more_or_less_than_it_should_is_refused() {
        let stored = Bytes::from(compress(&[7; 5000]).unwrap());
        assert!(decode_frame(Encoding::Zstd, stored.clone(), 5000).is_some());
        assert!(decode_frame(Encoding::Zstd, stored.clone(), 4999).is_none());
        assert!(decode_frame(Encoding::Zstd, stored, 5001).is_none());
        assert!(decode_frame(Encoding::Zstd, Bytes::from_static(b"no zstd frame"), 10).is_none());
    }

    #[test]
    fn frame_with_a_huge_window_costs_no_more_than_its_content() {
        // A zstd frame header that asks for a window of 2 GiB and announces 2^62 bytes of content.
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0xc0, 0xa8, 0, 0, 0, 0, 0, 0, 0, 0x40, 1, 0, 0];
        assert!(decode_frame(Encoding::Zstd, Bytes::copy_from_slice(&frame), 100).is_none());
    }
}
