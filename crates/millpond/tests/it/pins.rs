//! Names that an operator pins: they stay while everything else goes, over restarts, and give their space back to nobody's cost.

use serde_json::Value;

use crate::admin::{answer, ask};
use crate::retention::{Pond, until};

/// So many artifacts of 2.5 MB fill the volume more than twice over.
const OTHERS: std::ops::Range<u32> = 0..10;

#[test]
fn pinned_artifact_stays_whole_and_its_space_comes_back_when_it_is_unpinned() {
    let mut pond = Pond::start("pinned", "");
    let kept = pond.push(&["sdk/base/strong", "sdk/base/weak"], 4_000_000, true).unwrap();
    let (code, text, complaint) = ask(&pond.server, "names pin artifact:sdk/* --reason 1.0 --dry-run");
    assert!(code == 0 && text.contains("would be pinned: 2 names of 4.0 MB"), "{text}{complaint}");
    assert_eq!(ask(&pond.server, "names pins").1, "");
    let pinned =
        answer(&pond.server, "names pin artifact:sdk/* --reason 1.0 --for 2y --owner release --json");
    assert_eq!((&pinned["kept"]["names"], &pinned["missing_count"]), (&2.into(), &0.into()));
    let (_, listed, _) = ask(&pond.server, "names pins");
    println!("{listed}");
    assert!(listed.contains("artifact:sdk/*, until ") && listed.ends_with(", by release: 1.0\n"), "{listed}");

    for number in OTHERS {
        if number == 4 {
            pond.start_again_with("");
        }
        pond.push(&[&format!("app/main/{number}")], 2_500_000, true).unwrap();
    }
    assert!(!pond.is_there("app/main/5"), "others that were used later went");
    // The blobs first, or the look-up would raise them.
    assert_eq!(pond.missing(&kept), 0);
    let shown = answer(&pond.server, "names show artifact:sdk/base/strong --json");
    assert_eq!((&shown["pinned"], &shown["pins"][0]["reason"]), (&true.into(), &"1.0".into()));
    let (_, list, _) = ask(&pond.server, "names list artifact:sdk/*");
    assert!(list.lines().all(|line| line.ends_with("(pinned)")), "{list}");
    let plan = answer(&pond.server, "retention plan --json");
    assert_eq!((&plan["pinned"]["names"], &plan["kept"]["names"]), (&2.into(), &2.into()));

    let there: Vec<_> =
        OTHERS.map(|number| format!("app/main/{number}")).filter(|key| pond.is_there(key)).collect();
    assert!(there.len() >= 2, "{there:?}");
    let before = pond.live_bytes();
    let (code, text, _) = ask(&pond.server, "names unpin artifact:*");
    assert!(code == 0 && text.contains("taken out: 1 pin;"), "{text}");
    // By itself: it was asked for.
    until("the space of what is pinned no longer comes back", || pond.live_bytes() + 3_900_000 < before);
    assert_eq!(pond.missing(&kept), kept.len());
    for key in &there {
        assert!(pond.is_there(key), "{key} paid for it");
    }
    let deeds: Vec<String> = ask(&pond.server, "audit --json").1.lines().map(said).collect();
    let of_pins: Vec<_> = deeds.iter().filter(|deed| deed.contains("pinned")).collect();
    assert_eq!(of_pins, ["pinned artifact:sdk/* (1.0)", "unpinned artifact:sdk/* (1.0)"]);
}

fn said(line: &str) -> String {
    let entry: Value = serde_json::from_str(line).unwrap();
    format!("{} {}", entry["what"].as_str().unwrap(), entry["name"].as_str().unwrap())
}

#[test]
fn pin_that_does_not_fit_or_finds_nothing_is_told_so() {
    let mut pond = Pond::start("pin refused", "");
    // More than three quarters of the room, and less than what letting go begins at.
    for number in 0..3 {
        pond.push(&[&format!("app/main/{number}")], 3_800_000, true).unwrap();
    }
    let (code, text, complaint) = ask(&pond.server, "names pin artifact:app/* --reason all");
    println!("{complaint}");
    let figures = "bytes more, and 0 bytes are kept already";
    assert!(code == 1 && complaint.contains(figures), "{code} {text}{complaint}");
    assert_eq!(ask(&pond.server, "names pins").1, "");
    let (code, text, complaint) = ask(&pond.server, "names pin artifact:app/main/none --reason early");
    assert!(code == 3 && text.starts_with("artifact:app/main/none: it is not in the cache\n"), "{text}");
    assert!(complaint.contains("1 thing is not kept"), "{complaint}");
    // It is kept from its push on.
    pond.push(&["app/main/none"], 100_000, true).unwrap();
    let shown = answer(&pond.server, "names show artifact:app/main/none --json");
    assert_eq!(shown["stays_until"], Value::Null);
    let (code, _, complaint) = ask(&pond.server, "names unpin 4711");
    assert!(code == 3 && complaint.contains("there is no pin 4711"), "{complaint}");
    let (code, _, complaint) = ask(&pond.server, "names pin app --reason late --until 2020-01-01");
    assert!(code == 1 && complaint.contains("over already"), "{complaint}");
}
