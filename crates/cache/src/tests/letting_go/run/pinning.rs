//! What an operator does meanwhile: pins, made and taken out.

use millpond_store::catalog::By;

use super::{Arc, Run};
use crate::{Pattern, PinWanted, PinsWanted};

impl Run {
    /// A pin for some names, while something is stopped in its middle. It waits for a pass that is under way.
    pub(super) async fn pin(&mut self) {
        if self.relevel.is_some() {
            return;
        }
        let pattern = ["artifact:*1", "*2", "action:*", "https://example.org/0"][self.random.index(4)];
        let seconds = [600, 2000, u64::MAX][self.random.index(3)];
        let revisions = [1, 1, 2, 3][self.random.index(4)];
        let inner = Arc::clone(self.inner());
        let wanted = PinWanted {
            pattern: Pattern::new(pattern).unwrap(),
            instance: None,
            reason: "any".into(),
            owner: None,
            until: inner.clock.wall().checked_add(seconds),
            revisions,
            dependencies: false,
            sources: false,
            dry_run: false,
        };
        let pinned = self.meanwhile(inner.pin(wanted, By::default())).await;
        self.note(("pinned", pattern, seconds, &pinned));
        if let Ok(pinned) = pinned {
            let inner = Arc::clone(self.inner());
            let held = self.truth.pinned(&inner, &self.world, &pinned.names).await;
            self.require(held);
        }
    }

    /// Some pins are taken out, or all.
    pub(super) async fn unpin(&mut self) {
        let inner = Arc::clone(self.inner());
        let all = self.random.one_in(2);
        let wanted = PinsWanted {
            pattern: Some(Pattern::new(if all { "*" } else { "artifact:*" }).unwrap()),
            ..PinsWanted::default()
        };
        let gone = self.meanwhile(inner.unpin(wanted, By::default())).await;
        self.note(("unpinned", gone.map(|gone| gone.len())));
    }
}
