//! A file's content: as it is shown, as it is durable, and the writes between the two.

use super::Chance;

const SECTOR: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Content {
    /// What reads see.
    shown: Vec<u8>,
    /// What every crash image has.
    durable: Vec<u8>,
    /// Since the last sync.
    writes: Vec<Write>,
    /// How many have the file open.
    pub(super) handles: u32,
    /// Whether no look-up finds it any more. A crash image may have it all the same.
    pub(super) unlinked: bool,
}

#[derive(Debug)]
struct Write {
    offset: usize,
    bytes: Vec<u8>,
}

impl Content {
    pub(super) fn durable(bytes: Vec<u8>) -> Self {
        Self { shown: bytes.clone(), durable: bytes, writes: Vec::new(), handles: 0, unlinked: false }
    }

    pub(super) fn len(&self) -> u64 {
        self.shown.len() as u64
    }

    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = self.shown.get(from..).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..len), rest.get(..len)) {
            to.copy_from_slice(from);
        }
        len
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        overwrite(&mut self.shown, offset, bytes);
        self.writes.push(Write { offset, bytes: bytes.to_vec() });
    }

    pub(super) fn sync(&mut self) {
        for write in self.writes.drain(..) {
            overwrite(&mut self.durable, write.offset, &write.bytes);
        }
    }

    /// A sync that failed: chance decides now what reached the disk, and no later sync writes the rest.
    pub(super) fn fail_sync(&mut self, chance: &mut Chance) {
        self.durable = self.settle(chance);
        self.writes.clear();
    }

    /// From here on reads see what the disk has, and what is still to be synced. The length is as it was.
    pub(super) fn drop_cache(&mut self) {
        let len = self.shown.len();
        self.shown.clone_from(&self.durable);
        self.shown.resize(len.max(self.durable.len()), 0);
        for write in &self.writes {
            overwrite(&mut self.shown, write.offset, &write.bytes);
        }
    }

    /// What the disk has after a cut.
    pub(super) fn settle(&self, chance: &mut Chance) -> Vec<u8> {
        let mut image = self.durable.clone();
        for write in &self.writes {
            match chance.below(3) {
                0 => {}
                1 => write.tear(&mut image, chance),
                _ => overwrite(&mut image, write.offset, &write.bytes),
            }
        }
        if image.len() < self.shown.len() && !self.writes.is_empty() && chance.below(4) == 3 {
            image.resize(self.shown.len(), 0);
        }
        image
    }
}

impl Write {
    /// Applies any of the sectors that it touches.
    fn tear(&self, image: &mut Vec<u8>, chance: &mut Chance) {
        let mut from = 0;
        while from < self.bytes.len() {
            let position = self.offset + from;
            let to = (from + SECTOR - position % SECTOR).min(self.bytes.len());
            if let Some(bytes) = self.bytes.get(from..to).filter(|_| chance.keeps()) {
                overwrite(image, position, bytes);
            }
            from = to;
        }
    }
}

fn overwrite(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    if let Some(place) = content.get_mut(offset..end) {
        place.copy_from_slice(bytes);
    }
}
