//! `millpond verify`: compares the names here with those of another server that runs.

use millpond_proto::admin::compare_answer::Answer;
use millpond_proto::admin::difference::Kind;
use millpond_proto::admin::{CompareRequest, CompareTotals, Difference};
use serde_json::{Value, json};

use super::ask::{AskFlags, Server};
use super::other::OtherFlags;
use super::progress::Progress;
use super::{counted, print, print_json, printable};
use crate::exit::{self, Code, Failure};

/// What stands below the flags in `millpond verify --help`.
pub(super) fn after_help() -> String {
    format!(
        "Without names, all that are here are compared.\n\n\
         Examples:\n  \
         millpond verify http://127.0.0.1:11001\n  \
         millpond verify grpcs://cache.example.org:11001 --from-file names --token-file token\n\n{}",
        exit::help()
    )
}

/// With what, and which names.
#[derive(Debug, clap::Args)]
pub(super) struct VerifyFlags {
    #[command(flatten)]
    ask: AskFlags,
    #[command(flatten)]
    other: OtherFlags,
}

/// What is printed: differences as they come, or all of them as JSON at the end.
struct Report {
    json: bool,
    progress: Progress,
    differences: Vec<Value>,
    done: CompareTotals,
}

/// Does it. Whatever differs is a finding.
pub(super) fn run(flags: &VerifyFlags) -> Result<(), Failure> {
    let (with, mut parts) = (flags.other.server()?, flags.other.names()?);
    if parts.is_empty() {
        if flags.other.with_dependencies {
            let hint = "without names and --with-dependencies, all that are here are compared";
            return Err(Failure::new(
                Code::Usage,
                "there are no names whose dependencies could be followed",
                hint,
            ));
        }
        parts.push(Vec::new());
    }
    let mut report = Report {
        json: flags.ask.json,
        progress: Progress::new(),
        differences: Vec::new(),
        done: CompareTotals::default(),
    };
    flags.ask.ask(async |mut server| {
        for names in parts {
            let question = CompareRequest {
                with: Some(with.clone()),
                instance: flags.other.to_instance.clone(),
                names,
                with_dependencies: flags.other.with_dependencies,
            };
            report.hear(&mut server, question).await?;
        }
        Ok(())
    })?;
    report.end()
}

impl Report {
    async fn hear(&mut self, server: &mut Server, question: CompareRequest) -> Result<(), Failure> {
        let mut answers = server.compare(question).await?.into_inner();
        while let Some(answer) = answers.message().await? {
            match answer.answer {
                Some(Answer::Progress(now)) => {
                    let now = sum(&self.done, &now);
                    let differ = differing(&now);
                    self.progress.show(&format!("{} names are the same, {differ} differ", now.same));
                }
                Some(Answer::Difference(difference)) => self.tell(&difference)?,
                Some(Answer::Totals(totals)) => {
                    self.done = sum(&self.done, &totals);
                    return Ok(());
                }
                None => {}
            }
        }
        Err(Failure::new(Code::Failed, "the server ended it before it was through", "its log says why"))
    }

    fn tell(&mut self, difference: &Difference) -> Result<(), Failure> {
        let (word, words) = match difference.kind() {
            Kind::OnlyHere => ("only-here", "only here"),
            Kind::OnlyThere => ("only-there", "only there"),
            Kind::Nowhere => ("nowhere", "neither here nor there"),
            Kind::OtherValue => ("other-value", "another value there"),
            Kind::LacksHere => ("lacks-here", "needs blobs that are not here"),
            Kind::LacksThere => ("lacks-there", "has blobs here that are not there"),
            Kind::Unknown | Kind::Unspecified => ("unknown", "cannot be compared"),
        };
        let Difference { name, what, .. } = difference;
        if self.json {
            let what = Some(what).filter(|what| !what.is_empty());
            self.differences.push(json!({ "name": name, "difference": word, "what": what }));
            return Ok(());
        }
        self.progress.show("");
        let what = if what.is_empty() { String::new() } else { format!(": {}", printable(what)) };
        print(&format!("{}: {words}{what}\n", printable(name)))
    }

    fn end(self) -> Result<(), Failure> {
        self.progress.show("");
        let (same, differ) = (self.done.same, differing(&self.done));
        if self.json {
            print_json(&json!({ "same": same, "differ": differ, "differences": self.differences }))?;
        } else {
            print(&format!("the same here and there: {}\n", counted(same, "name")))?;
        }
        let names = match differ {
            0 => return Ok(()),
            1 => "1 difference was found".to_owned(),
            count => format!("{count} differences were found"),
        };
        let hint = "`millpond copy` brings what is missing here; what was pushed meanwhile differs by right, and a name that points to \
                    something else here has to be removed here before it is copied";
        Err(Failure::new(Code::Findings, names, hint))
    }
}

fn differing(done: &CompareTotals) -> u64 {
    let CompareTotals {
        same: _,
        only_here,
        only_there,
        nowhere,
        other_value,
        lacks_here,
        lacks_there,
        unknown,
    } = done;
    only_here + only_there + nowhere + other_value + lacks_here + lacks_there + unknown
}

fn sum(one: &CompareTotals, other: &CompareTotals) -> CompareTotals {
    CompareTotals {
        same: one.same + other.same,
        only_here: one.only_here + other.only_here,
        only_there: one.only_there + other.only_there,
        nowhere: one.nowhere + other.nowhere,
        other_value: one.other_value + other.other_value,
        lacks_here: one.lacks_here + other.lacks_here,
        lacks_there: one.lacks_there + other.lacks_there,
        unknown: one.unknown + other.unknown,
    }
}
