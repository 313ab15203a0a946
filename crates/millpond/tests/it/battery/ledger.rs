//! What the server was asked to remember and what it acknowledged.
//!
//! **Invariant:** a push is written down before it is sent and acknowledged after its answer came, so that a name may
//! answer a value only if no other push of the name began after that value's push was acknowledged and was itself
//! acknowledged. What was never acknowledged may be there or not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use millpond_proto::reapi::Digest;

/// A name that clients look up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Name {
    Blob(String),
    Directory(String),
    Action(Digest),
}

/// What a look-up of it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Digest(Digest),
    Result(Bytes),
}

/// A target and what it promises.
#[derive(Debug)]
pub(crate) struct Value {
    pub target: Target,
    /// Every required blob, the uploaded optional ones among them.
    pub closure: Vec<Digest>,
    /// Root directories, each with all directories of its tree.
    pub trees: HashMap<Digest, Vec<Digest>>,
}

/// A moment in the order of what happened to the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

struct Push {
    begun: Moment,
    acknowledged: Option<Moment>,
    value: Arc<Value>,
}

/// What a name may answer.
pub(crate) struct Expected {
    pub any_of: Vec<Arc<Value>>,
    /// Whether it must answer at all.
    pub must: bool,
}

#[derive(Default)]
struct Entries {
    now: u64,
    pushes: HashMap<Name, Vec<Push>>,
    acknowledged: u64,
    complaints: Vec<String>,
    may_go: bool,
}

/// Shared by all who push and read.
#[derive(Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<Entries>>);

impl Ledger {
    fn tick(entries: &mut Entries) -> Moment {
        entries.now += 1;
        Moment(entries.now)
    }

    /// From now on what was acknowledged may be let go: a name may answer nothing, but never half of what it should.
    pub(crate) fn may_go(&self) {
        self.0.lock().unwrap().may_go = true;
    }

    /// Whether what was acknowledged may be let go.
    pub(crate) fn may_any_go(&self) -> bool {
        self.0.lock().unwrap().may_go
    }

    /// Now: what is acknowledged later is later.
    pub(crate) fn now(&self) -> Moment {
        Self::tick(&mut self.0.lock().unwrap())
    }

    /// Before the call that publishes.
    pub(crate) fn begin(&self, names: &[Name], value: &Arc<Value>) -> Moment {
        let mut entries = self.0.lock().unwrap();
        let begun = Self::tick(&mut entries);
        for name in names {
            let push = Push { begun, acknowledged: None, value: Arc::clone(value) };
            entries.pushes.entry(name.clone()).or_default().push(push);
        }
        begun
    }

    /// After the answer that it is done.
    pub(crate) fn acknowledge(&self, names: &[Name], begun: Moment) {
        let mut entries = self.0.lock().unwrap();
        let now = Self::tick(&mut entries);
        entries.acknowledged += 1;
        for name in names {
            let pushes = entries.pushes.get_mut(name).into_iter().flatten();
            pushes.filter(|push| push.begun == begun).for_each(|push| push.acknowledged = Some(now));
        }
    }

    /// What a name may answer if all that counts is what was acknowledged up to `cut`.
    pub(crate) fn expected(&self, name: &Name, cut: Moment) -> Expected {
        let entries = self.0.lock().unwrap();
        let pushes = entries.pushes.get(name).map(Vec::as_slice).unwrap_or_default();
        let done = |push: &Push| push.acknowledged.filter(|moment| *moment <= cut);
        let latest = pushes.iter().filter(|push| done(push).is_some()).map(|push| push.begun).max();
        let possible =
            |push: &&Push| done(push).is_none_or(|moment| latest.is_none_or(|begun| begun <= moment));
        Expected {
            any_of: pushes.iter().filter(possible).map(|push| Arc::clone(&push.value)).collect(),
            must: latest.is_some() && !entries.may_go,
        }
    }

    /// Once a server that came back has answered, nothing of what was in doubt will happen any more. What it answered
    /// is as good as acknowledged.
    pub(crate) fn settle(&self, name: &Name, answered: Option<Arc<Value>>) {
        let mut entries = self.0.lock().unwrap();
        let now = Self::tick(&mut entries);
        match answered {
            Some(value) => {
                let push = Push { begun: now, acknowledged: Some(now), value };
                entries.pushes.insert(name.clone(), vec![push]);
            }
            None => drop(entries.pushes.remove(name)),
        }
    }

    /// Every name that was ever pushed and may be there.
    pub(crate) fn names(&self) -> Vec<Name> {
        self.0.lock().unwrap().pushes.keys().cloned().collect()
    }

    /// Pushes acknowledged in all.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.0.lock().unwrap().acknowledged
    }

    /// Writes down what a server must not answer.
    pub(crate) fn complain(&self, words: String) {
        self.0.lock().unwrap().complaints.push(words);
    }

    /// What was complained of so far.
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.0.lock().unwrap().complaints.clone()
    }
}
