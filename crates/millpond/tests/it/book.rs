//! The guide as a book, made by the real mdBook: every page is there, and every link of a page leads to a page and a heading of it.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::bst::clients_folder;

/// The values of an attribute.
fn values<'t>(page: &'t str, attribute: &str) -> Vec<&'t str> {
    page.split(&format!(" {attribute}=\"")).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

#[test]
fn guide_is_a_book_whose_links_lead_somewhere() {
    let own = clients_folder().join("mdbook/bin/mdbook");
    let program = if own.exists() { own.as_path() } else { Path::new("mdbook") };
    if Command::new(program).arg("--version").output().is_err() {
        let skipped = fs::read_to_string(clients_folder().join("skipped")).unwrap_or_default();
        assert!(skipped.contains("mdBook:"), "there is no mdBook: run scripts/test-clients");
        eprintln!("skipped: there is no mdBook");
        return;
    }
    let (docs, book) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs"), TempDir::new().unwrap());
    let built =
        Command::new(program).arg("build").arg(&docs).arg("--dest-dir").arg(book.path()).output().unwrap();
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success() && !said.contains("WARN") && !said.contains("ERROR"), "{said}");

    let (mut complaints, mut links) = (Vec::new(), 0);
    for page in fs::read_dir(&docs).unwrap() {
        let name = page.unwrap().file_name().into_string().unwrap();
        let Some(name) = name.strip_suffix(".md").filter(|name| *name != "SUMMARY") else { continue };
        let name = if name == "README" { "index" } else { name };
        let text = fs::read_to_string(book.path().join(format!("{name}.html"))).unwrap();
        for link in values(&text, "href") {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let is_page = file.is_empty() || file.ends_with(".html");
            if link.contains("://") || !is_page {
                continue;
            }
            links += 1;
            let there =
                if file.is_empty() { Ok(text.clone()) } else { fs::read_to_string(book.path().join(file)) };
            if !there.is_ok_and(|there| anchor.is_empty() || values(&there, "id").contains(&anchor)) {
                complaints.push(format!("{name}: {link}"));
            }
        }
    }
    assert!(links > 300, "{links} links were found");
    assert_eq!(complaints, Vec::<String>::new());
}
