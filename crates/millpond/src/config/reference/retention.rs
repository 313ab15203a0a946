//! What is kept and what goes early.

use super::{KEY, Key, Section};

pub(super) const RETENTION: Section = Section {
    name: "retention",
    many: true,
    at_start: false,
    text: "What is kept however little it is used, and what goes early: one [[retention]] for each rule, of which the first \
           that matches a name counts. What is left out of a rule leaves nothing out. Where no rule matches, what was \
           used least recently goes first. `millpond retention plan` says what rules come to.",
    another: &["kind = \"artifact\"", "outcome = \"failure\"", "let_go_after = \"1h\""],
    keys: &[
        Key {
            name: "instance",
            value: "\"main\"",
            default: Some("every instance"),
            text: "The instances that the rule is for, with * for what may be anything.",
            ..KEY
        },
        Key {
            name: "kind",
            value: "\"artifact\"",
            default: Some("names of every kind"),
            text: "The kind of names: \"artifact\" of both BuildStreams, \"source\", \"action-result\" or \"asset\", \
                   which is anything else.",
            ..KEY
        },
        Key {
            name: "project",
            value: "\"sdk\"",
            default: Some("every project, and what is no artifact"),
            text: "Artifacts of these projects, with * for what may be anything. The name of a source says no project: \
                   match sources by their kind.",
            ..KEY
        },
        Key {
            name: "element",
            value: "\"base-*\"",
            default: Some("every element, and what is no artifact"),
            text: "Artifacts of these elements, as their names have them: components/base.bst is components-base.",
            ..KEY
        },
        Key {
            name: "names",
            value: "\"artifact:sdk/*\"",
            default: Some("every name"),
            text: "The names, as a [[replacement]] has them.",
            ..KEY
        },
        Key {
            name: "outcome",
            value: "\"success\"",
            default: Some("artifacts of either, and what is no artifact"),
            text: "Artifacts of builds that ended in \"success\" or \"failure\".",
            ..KEY
        },
        Key {
            name: "keep",
            value: "\"2 years\"",
            default: Some("not kept"),
            text: "They are kept for so long from their push on, or \"forever\", with all that they need, however \
                   little they are used. Pushes are refused once nothing else is left to go.",
            ..KEY
        },
        Key {
            name: "keep_newest",
            value: "10",
            default: Some("not kept"),
            text: "So many artifacts of each element are kept, those pushed last; the several names of one count once.",
            ..KEY
        },
        Key {
            name: "let_go_after",
            value: "\"5 years\"",
            default: Some("when space is needed"),
            text: "They go so long after their push, however much they are used, but for what is still kept.",
            ..KEY
        },
        Key {
            name: "at_most",
            value: "\"100GB\"",
            default: Some("as much as there is room for"),
            text: "So many bytes stay of all that the rule matches, of what was used last; the rest goes once a day, but for \
                   what is still kept. Counted is what they reach, each blob once.",
            ..KEY
        },
    ],
};
