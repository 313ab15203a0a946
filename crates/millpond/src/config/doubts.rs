//! What can work and is hardly meant: said as warnings.

use super::Settings;

/// A sentence for each.
pub(super) fn doubts(settings: &Settings) -> Vec<String> {
    let mut doubts = Vec::new();
    let (keys, data) = (&settings.keys.value, &settings.data.value);
    if let (Ok(keys), Ok(data)) = (std::path::absolute(keys), std::path::absolute(data))
        && keys.starts_with(&data)
    {
        doubts.push(format!(
            "the directory of keys {} lies in the data directory: whoever gets the volume, or a copy of it, has the server's \
             private keys; move it beside it",
            keys.display()
        ));
    }
    let retention = settings.retention.iter().map(|rule| rule.place().is_none());
    doubts.extend(unreached("[[retention]]", retention));
    let replacement = settings.replacement.iter().map(|rule| is_anything(&rule.names.value));
    doubts.extend(unreached("[[replacement]]", replacement));
    let quotas = settings.quotas.iter().map(|quota| is_anything(&quota.identities.value));
    doubts.extend(unreached("[[quota]]", quotas));
    for quota in &settings.quotas {
        if quota.requests_per_minute.is_none() && quota.upload_per_day.is_none() {
            let place = &quota.identities.place;
            doubts.push(format!("{place}: a quota without requests_per_minute and upload_per_day takes these identities out of those behind it"));
        }
    }
    doubts.extend(super::acme::doubt(settings));
    doubts
}

fn is_anything(names: &super::replacement::Names) -> bool {
    names.to_string() == "*"
}

/// Rules behind one that matches everything, of which the first that matches counts.
fn unreached(section: &str, all: impl ExactSizeIterator<Item = bool>) -> Option<String> {
    let count = all.len();
    let number = all.into_iter().position(|matches_all| matches_all)? + 1;
    let behind = count - number;
    (behind > 0).then(|| {
        let those =
            if behind == 1 { "the one behind it is".into() } else { format!("the {behind} behind it are") };
        format!("rule {number} of {section} matches everything, so {those} never asked: put it last")
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Flags, file, merge};
    use super::*;

    fn of(text: &str) -> Vec<String> {
        let read = file::parse(Path::new("/etc/pond.toml"), text).unwrap();
        doubts(&merge::merge(Flags::default(), &file::Read::default(), &read))
    }

    #[test]
    fn what_is_hardly_meant_is_said() {
        let said = of("[[retention]]\nkeep = '1d'\n[[retention]]\nkind = 'source'\nkeep = '2d'\n");
        assert!(said.len() == 1 && said[0].contains("rule 1 of [[retention]]"), "{said:?}");
        let said = of("[[retention]]\nkind = 'source'\nkeep = '2d'\n[[retention]]\nkeep = '1d'\n");
        assert!(said.is_empty(), "{said:?}");
        let said = of("[[quota]]\nidentities = '*'\nrequests_per_minute = 1\n[[quota]]\nidentities = 'a'\n");
        assert!(said.len() == 2 && said[1].contains("line 5"), "{said:?}");
        let acme = "[acme]\ndomains = 'a.example.org'\nterms_agreed = true\n";
        let said = of(acme);
        assert!(said.len() == 1 && said[0].contains("line 2, domains: no listener speaks TLS"), "{said:?}");
        assert!(of(&format!("{acme}[[listener]]\naddress = '[::]:443'\ntls = true\n")).is_empty());
        let said = of("[store]\ndata = '/srv/pond'\n[identity]\nkeys = '/srv/pond/keys'\n");
        assert!(said.len() == 1 && said[0].contains("/srv/pond/keys"), "{said:?}");
        assert!(of("[store]\ndata = '/srv/pond'\n[identity]\nkeys = '/srv/pond-keys'\n").is_empty());
    }
}
