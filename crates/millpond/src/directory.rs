//! The data directory before it is opened: what stands in its way, and how much room its file system has.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::config::{Given, Settings};
use crate::exit::{Code, Failure};
use crate::size::Size;

/// The least that a store can work with, of which the default takes nine tenths of the file system.
const FILE_SYSTEM_LEAST: u64 = 9_000_000;

/// A larger limit than this share of the file system is warned of.
const LIMIT_PERCENT_MOST: u64 = 95;

/// Refuses a data directory that can never be one, before anything is made.
pub(crate) fn check(settings: &Settings) -> Result<(), Failure> {
    let Given { value: data, place } = &settings.data;
    let shown = data.display();
    let there = match obstacle(data) {
        Ok(there) => there,
        Err(Obstacle::File(path)) if path == *data => {
            return Err(Failure::new(
                Code::NotWritable,
                format!("{place}: {shown} is not a directory"),
                "give the path of a directory, or one where nothing is yet and it can be made",
            ));
        }
        Err(Obstacle::File(path)) => {
            return Err(Failure::new(
                Code::NotWritable,
                format!("{place}: {shown} cannot be made, since {} is not a directory", path.display()),
                "give a path that leads through directories alone",
            ));
        }
        Err(Obstacle::Link(link, target)) => {
            let (link, target) = (link.display(), target.display());
            return Err(Failure::new(
                Code::NotWritable,
                format!(
                    "{place}: {shown} cannot be made, since the symbolic link {link} leads to {target}, which is not there"
                ),
                "make that directory (its disk may not be mounted), or let the link lead to one that is there",
            ));
        }
    };
    match Room::of(&there) {
        Some(room) if settings.max_size.is_none() && room.total < FILE_SYSTEM_LEAST => Err(Failure::new(
            Code::Usage,
            format!("{place}: the file system of {shown} has {}, too little to work", Size(room.total)),
            format!("give a directory on one of {} or more", Size(FILE_SYSTEM_LEAST)),
        )),
        _ => Ok(()),
    }
}

/// What keeps a directory from being made.
#[derive(Debug, PartialEq, Eq)]
enum Obstacle {
    /// Something that is there and no directory.
    File(PathBuf),
    /// A symbolic link that leads to a path where nothing is.
    Link(PathBuf, PathBuf),
}

/// The nearest directory that is there, from the path upwards.
fn obstacle(path: &Path) -> Result<PathBuf, Obstacle> {
    for place in path.ancestors() {
        let place = if place == Path::new("") { Path::new(".") } else { place };
        match fs::metadata(place) {
            Ok(found) if found.is_dir() => return Ok(place.to_owned()),
            Ok(_) => return Err(Obstacle::File(place.to_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if let Ok(target) = fs::read_link(place) {
                    return Err(Obstacle::Link(place.to_owned(), target));
                }
            }
            // Its parent says more: a file, or a directory that may not be entered.
            Err(_) => {}
        }
    }
    Ok(path.to_owned())
}

/// The room of a file system, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// All of it.
    pub(crate) total: u64,
    /// What may still be written.
    pub(crate) free: u64,
}

impl Room {
    /// That of the file system of `path`, which must be there; `None` if it has no size, as that of `/proc`.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let stat = rustix::fs::statvfs(path).ok().filter(|stat| stat.f_blocks > 0)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Some(Self { total: bytes(stat.f_blocks), free: bytes(stat.f_bavail) })
    }

    /// What says that a limit is more than there is room for, when `used` bytes of ours are in it already and so many are
    /// to be left to others.
    pub(crate) fn too_little_for(&self, limit: Size, used: Size, keep_free: Option<Size>) -> Option<String> {
        // As the store does.
        let left = keep_free.map_or_else(|| (self.total / 100 * 5).min(2_000_000_000), |size| size.0);
        let most = used.0.saturating_add(self.free.saturating_sub(left));
        if most >= limit.0 && limit.0 > self.total / 100 * LIMIT_PERCENT_MOST {
            return Some(format!(
                "the limit of {limit} is more than {LIMIT_PERCENT_MOST} % of the file system, which has {}: it gets slow \
                 when it is that full, and logs beside the data find no room; give a smaller --max-size",
                Size(self.total)
            ));
        }
        (most < limit.0).then(|| {
            format!(
                "the file system has room for {} of the {limit} that may be used, {} being left free: what was used \
                 least recently is let go before that; give a smaller --max-size, or make room",
                Size(most),
                Size(left)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_stands_in_the_way_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let [file, link, good] = ["file", "link", "good"].map(|name| folder.path().join(name));
        fs::write(&file, "").unwrap();
        symlink("nowhere", &link).unwrap();
        symlink(folder.path(), &good).unwrap();
        assert_eq!(obstacle(&file), Err(Obstacle::File(file.clone())));
        assert_eq!(obstacle(&file.join("a/b")), Err(Obstacle::File(file)));
        assert_eq!(obstacle(&link), Err(Obstacle::Link(link.clone(), "nowhere".into())));
        assert_eq!(obstacle(&link.join("a")), Err(Obstacle::Link(link, "nowhere".into())));
        assert_eq!(obstacle(&good.join("a/b")), Ok(good));
        assert_eq!(obstacle(Path::new("not-there/a")), Ok(".".into()));
    }

    #[test]
    fn limit_above_what_is_free_is_told_with_figures() {
        let gb = |count: u64| Size(count * 1_000_000_000);
        let room = Room { total: gb(100).0, free: gb(32).0 };
        assert_eq!(room.too_little_for(gb(30), gb(0), None), None);
        assert_eq!(room.too_little_for(gb(40), gb(10), None), None);
        assert!(room.too_little_for(gb(40), gb(10), Some(gb(3))).unwrap().contains("3.0 GB being left"));
        let empty = Room { total: gb(100).0, free: gb(100).0 };
        assert!(empty.too_little_for(gb(96), gb(0), None).unwrap().contains("more than 95 %"));
        let said = room.too_little_for(gb(90), gb(10), None).unwrap();
        assert!(
            said.contains("room for 40.0 GB of the 90.0 GB") && said.contains("2.0 GB being left"),
            "{said}"
        );
    }
}
