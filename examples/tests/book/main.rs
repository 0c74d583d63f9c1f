//! The guide under `docs/` is right: its commands, links, tables and numbers. (Its Rust code is compiled and run as
//! doctests, see `examples/lib.rs`.)

#[path = "../it/common/binary.rs"]
mod binary;
mod commands;
mod links;
mod notebook;
mod numbers;
mod reads;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The folder of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// A file of Markdown.
struct Page {
    path: PathBuf,
    text: String,
}

impl Page {
    fn read(path: PathBuf) -> Self {
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Self { path, text: text.replace("\r\n", "\n") }
    }

    /// Its path from the root of the repository.
    fn name(&self) -> String {
        self.path.strip_prefix(root()).unwrap().display().to_string().replace('\\', "/")
    }

    /// Its lines, each with the language of the fenced block that it stands in; a fence itself is in none.
    fn lines(&self) -> Vec<(Option<&str>, &str)> {
        let mut language = None;
        let lines =
            self.text.lines().map(|line| match (line.trim_start().strip_prefix("```"), language) {
                (Some(_), Some(_)) => {
                    language = None;
                    (None, "")
                }
                (Some(opened), None) => {
                    language = Some(opened);
                    (None, "")
                }
                (None, _) => (language, line),
            });
        lines.collect()
    }
}

/// The pages of the guide, in no order.
fn guide() -> Vec<Page> {
    let files = fs::read_dir(root().join("docs/src")).unwrap().map(|entry| entry.unwrap().path());
    let pages = files.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.map(Page::read).collect()
}

/// The READMEs and the cards of methods.
fn readmes() -> Vec<Page> {
    let mut files = vec![root().join("README.md"), root().join("models/README.md")];
    for parent in ["benches", "crates", "examples", "models"] {
        for entry in fs::read_dir(root().join(parent)).unwrap() {
            files.push(entry.unwrap().path().join("README.md"));
        }
    }
    files.retain(|file| file.is_file());
    files.into_iter().map(Page::read).collect()
}

/// Checks that the part of a page between `<!-- made: NAME -->` and `<!-- end -->` is `made`. With `HEBBIAN_BOOK=write`
/// in the environment, the part is written instead.
fn check_made(page: &Path, name: &str, made: &str) {
    /// A page may have several parts, which tests write at the same time.
    static WRITING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = WRITING.lock();
    let Page { text, .. } = Page::read(page.to_path_buf());
    let (start, end) = (format!("<!-- made: {name} -->\n"), "<!-- end -->");
    let parts =
        text.split_once(&start).and_then(|(before, rest)| Some((before, rest.split_once(end)?)));
    let Some((before, (found, after))) = parts else {
        panic!("{}: there is no part {start}…{end}", page.display())
    };
    let expected = format!("\n{}\n\n", made.trim());
    if std::env::var_os("HEBBIAN_BOOK").is_some_and(|how| how == "write") {
        fs::write(page, format!("{before}{start}{expected}{end}{after}")).unwrap();
    } else {
        assert_eq!(
            found,
            expected,
            "{}: the part \"{name}\" is not what the code makes; HEBBIAN_BOOK=write cargo test --workspace --test book \
             writes it",
            page.display()
        );
    }
}
