//! What is compared with another server, and how names may differ.

/// What is to be compared.
#[derive(Clone, Debug, Default)]
pub struct CompareWanted {
    /// Names as people write them; without any, all that are here.
    pub names: Vec<String>,
    /// And what artifacts among them were built with.
    pub dependencies: bool,
}

/// How a name differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// It is here only.
    OnlyHere,
    /// It is there only.
    OnlyThere,
    /// It is in neither place.
    Nowhere,
    /// It has another value there.
    OtherValue,
    /// Blobs that it needs are not here.
    LacksHere(String),
    /// Blobs that it has here are not there.
    LacksThere(String),
    /// It could not be compared.
    Unknown(String),
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompareStep {
    /// What it came to by now.
    Progress(Compared),
    /// A name that differs, and how.
    Differs(String, Difference),
}

/// What it came to: names that are the same, and each difference that there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Names whose values are the same, with all blobs here and there.
    pub same: u64,
    /// See [`Difference`].
    pub only_here: u64,
    /// See [`Difference`].
    pub only_there: u64,
    /// See [`Difference`].
    pub nowhere: u64,
    /// See [`Difference`].
    pub other_value: u64,
    /// See [`Difference`].
    pub lacks_here: u64,
    /// See [`Difference`].
    pub lacks_there: u64,
    /// See [`Difference`].
    pub unknown: u64,
}

impl Compared {
    /// Counts one.
    pub(super) fn count(&mut self, difference: &Difference) {
        let counter = match difference {
            Difference::OnlyHere => &mut self.only_here,
            Difference::OnlyThere => &mut self.only_there,
            Difference::Nowhere => &mut self.nowhere,
            Difference::OtherValue => &mut self.other_value,
            Difference::LacksHere(_) => &mut self.lacks_here,
            Difference::LacksThere(_) => &mut self.lacks_there,
            Difference::Unknown(_) => &mut self.unknown,
        };
        *counter += 1;
    }

    /// All of it.
    pub(super) fn looked_at(&self) -> u64 {
        let Self { same, only_here, only_there, nowhere, other_value, lacks_here, lacks_there, unknown } =
            self;
        same + only_here + only_there + nowhere + other_value + lacks_here + lacks_there + unknown
    }
}
