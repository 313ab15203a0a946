//! The names that a project's artifacts have, as grants mean them.

/// A pattern for the artifacts of a project. What has a `/` or ends with a `*` is taken as it is.
pub(crate) fn of_project(project: &str) -> String {
    let whole = !project.is_empty() && !project.contains('/') && !project.ends_with('*');
    if project.is_empty() {
        String::new()
    } else {
        format!("artifact:{project}{}", if whole { "/*" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn project_means_its_artifacts() {
        for (project, names) in [
            ("team", "artifact:team/*"),
            ("team*", "artifact:team*"),
            ("team/app", "artifact:team/app"),
            ("team/app/*", "artifact:team/app/*"),
            ("", ""),
        ] {
            assert_eq!(of_project(project), names);
        }
    }
}
