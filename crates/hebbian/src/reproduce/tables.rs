//! The tables of cards, README and guide, which are generated from the record.

use super::entry::Entry;
use super::kept;
use anyhow::{Context, Result, bail};
use hebbian_train::{Claim, Job, Published, duration, read_text, save_text};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// The mark before the name of a table, and the mark at its end.
const MARK: [&str; 2] = ["<!-- record: ", "<!-- end of record -->"];
/// The name of the table of headline claims.
const HEADLINE: &str = "headline";
/// Folders that are skipped, since they have no texts of the project.
const PASSED: [&str; 4] = ["target", "runs", "node_modules", "zoo"];

/// Updates the tables in all texts of the project, and returns which files have changed.
pub(super) fn write(root: &Path) -> Result<String> {
    let entries = Entry::of_project(root)?;
    let mut changed = String::new();
    for (file, before, now) in texts(root, &entries)? {
        if before != now {
            save_text(&file, &now)?;
            writeln!(changed, "wrote {}", file.display())?;
        }
    }
    Ok(if changed.is_empty() { "all tables are as the record says\n".to_string() } else { changed })
}

/// Returns an error if a text has other tables, if the record is not that of this build, or if its numbers are
/// not those of the results that are kept.
pub(super) fn check(root: &Path) -> Result<String> {
    let entries = Entry::of_project(root)?;
    let mut wrong = Vec::new();
    for (entry, embedded) in entries.iter().zip(Entry::embedded()?) {
        if *entry != embedded {
            wrong.push(format!("{}: this build has another record", entry.name()));
        }
        for job in &entry.record.jobs {
            wrong.extend(kept::check(root, entry, job)?);
        }
    }
    for (file, before, now) in texts(root, &entries)? {
        if before != now {
            wrong.push(format!(
                "{}: its tables are not those of the record: hebbian reproduce --write-tables",
                file.display()
            ));
        }
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    Ok("all tables are as the record says\n".to_string())
}

/// Returns every text of the project that has tables: its path, the text as it is, and the text as it should be.
fn texts(root: &Path, entries: &[Entry]) -> Result<Vec<(PathBuf, String, String)>> {
    let (mut all, mut shown) = (Vec::new(), BTreeSet::new());
    for file in markdown(root)? {
        let before = read_text(&file)?;
        let at = || file.display().to_string();
        let now = replaced(&before, entries, &mut shown).with_context(at)?;
        if before.contains(MARK[0]) {
            all.push((file, before, now));
        }
    }
    let names = entries.iter().map(Entry::name).chain([HEADLINE.to_string()]);
    if let Some(missing) = names.into_iter().find(|name| !shown.contains(name)) {
        bail!("{missing} is in no text: put {}{missing} --> and {} there", MARK[0], MARK[1]);
    }
    Ok(all)
}

/// Returns a text with its tables generated again, and adds their names to `shown`.
fn replaced(text: &str, entries: &[Entry], shown: &mut BTreeSet<String>) -> Result<String> {
    let (mut done, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(MARK[0]) {
        let (before, from) = rest.split_at(at);
        let Some((name, _)) = from[MARK[0].len()..].split_once(" -->") else {
            bail!("a mark of a table has no end");
        };
        let Some(end) = from.find(MARK[1]) else {
            bail!("the table {name} has no end: {}", MARK[1]);
        };
        let records: Option<Vec<&Entry>> =
            name.split(' ').map(|name| entries.iter().find(|entry| entry.name() == name)).collect();
        let table = match records {
            Some(records) => table(&records),
            None if name == HEADLINE => headline(entries),
            None => {
                let jobs: Option<Vec<&Job>> =
                    name.split(' ').map(|name| job(name, entries)).collect();
                numbers(&jobs.with_context(|| format!("there is no record {name}"))?)
            }
        };
        shown.extend(name.split(' ').map(str::to_string));
        write!(done, "{before}{}{name} -->\n\n{table}\n", MARK[0])?;
        rest = &from[end..];
    }
    Ok(done + rest)
}

fn markdown(root: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with('.') || PASSED.contains(&name.as_str()) || path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".md") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Returns the table of one record, or of several that are shown as one under the heading of the first: columns for
/// numbers and for how they were obtained, then notes and the commands.
fn table(entries: &[&Entry]) -> String {
    let jobs =
        || entries.iter().flat_map(|entry| entry.record.jobs.iter().map(move |job| (*entry, job)));
    let claims = || jobs().flat_map(|(_, job)| job.claims.iter().map(move |claim| (job, claim)));
    let columns = distinct(claims().map(|(_, claim)| claim.column.clone()));
    let simple = columns.len() == 1;
    let mut head = vec![entries[0].record.rows.clone()];
    match simple {
        true => head.extend(["published".to_string(), "ours".to_string()]),
        false => head.extend(columns.iter().cloned()),
    }
    head.extend(["seeds", "learning", "read-out"].map(str::to_string));
    let mut text = heading(&head);
    for row in distinct(claims().map(|(_, claim)| claim.row.clone())) {
        let of: Vec<_> = claims().filter(|(_, claim)| claim.row == row).collect();
        let mut cells = vec![row.clone()];
        if let (true, [(_, claim), ..]) = (simple, &of[..]) {
            cells.extend([published(claim), ours(claim)]);
        } else {
            for column in &columns {
                let found = of.iter().find(|(_, claim)| claim.column == *column);
                cells.push(found.map_or_else(String::new, |(_, claim)| beside(claim)));
            }
        }
        let together = |part: &dyn Fn(&Job, &Claim) -> String| {
            distinct(of.iter().map(|(job, claim)| part(job, claim))).join("; ")
        };
        cells.push(together(&|job, claim| seeds(job, claim)));
        cells.push(together(&|_, claim| claim.learning.name().to_string()));
        cells.push(together(&|_, claim| claim.read_out.clone()));
        text += &line(&cells);
    }
    let of_all = claims().filter_map(|(_, claim)| claim.published.as_ref());
    let sources = distinct(of_all.map(|published| published.source.clone()));
    let brackets = if simple { "" } else { ", in brackets" };
    text.push('\n');
    if !sources.is_empty() {
        let _ = writeln!(text, "Published{brackets}: {}.", sources.join("; "));
    }
    for (_, job) in jobs() {
        if let Some(note) = &job.note {
            let _ = writeln!(text, "`{}`: {note}", job.name);
        }
    }
    if !text.ends_with("\n\n") {
        text.push('\n');
    }
    text += "```console\n";
    for (entry, job) in jobs() {
        let _ = writeln!(text, "$ {}  # {}", job.command(entry.method), price(job));
    }
    text + "```\n"
}

/// Returns the table of the headline claims of all methods.
fn headline(entries: &[Entry]) -> String {
    let head = ["method", "data", "", "published", "ours", "seeds", "learning", "read-out", "time"];
    let mut text = heading(&head.map(str::to_string));
    for entry in entries {
        for job in &entry.record.jobs {
            for claim in job.claims.iter().filter(|claim| claim.headline) {
                let data = job.dataset.clone().unwrap_or_else(|| "synthetic".to_string());
                let of_all = if job.runs() > 1 { ", each seed" } else { "" };
                let time = job.minutes.get("cpu").map(|&time| duration(time) + of_all);
                text += &line(&[
                    format!("`{}`", entry.method),
                    data,
                    claim.label(),
                    published(claim),
                    ours(claim),
                    seeds(job, claim),
                    claim.learning.name().to_string(),
                    claim.read_out.clone(),
                    time.unwrap_or_else(|| "–".to_string()),
                ]);
            }
        }
    }
    text
}

/// Returns the job of that name.
fn job<'a>(name: &str, entries: &'a [Entry]) -> Option<&'a Job> {
    let mut jobs =
        entries.iter().flat_map(|entry| entry.record.jobs.iter().map(move |job| (entry, job)));
    jobs.find(|(entry, job)| entry.name_of(job) == name).map(|(_, job)| job)
}

/// Returns a table of the numbers of jobs.
fn numbers(jobs: &[&Job]) -> String {
    let mut text = heading(&["", "ours", "seeds"].map(str::to_string));
    for (job, claim) in jobs.iter().flat_map(|job| job.claims.iter().map(move |claim| (job, claim)))
    {
        text += &line(&[claim.label(), ours(claim), seeds(job, claim)]);
    }
    text
}

fn heading(cells: &[String]) -> String {
    line(cells) + &"|---".repeat(cells.len()) + "|\n"
}

fn line(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// Returns each text once, in the order in which they first occur.
fn distinct(all: impl Iterator<Item = String>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for one in all {
        if !found.contains(&one) {
            found.push(one);
        }
    }
    found
}

fn ours(claim: &Claim) -> String {
    match claim.ours {
        None => "not run".to_string(),
        Some(ours) => {
            let mean = claim.shown(ours.mean, ours.sd);
            let sign = claim.sign();
            match ours.median.filter(|_| claim.with_median) {
                Some(median) => format!("{mean}{sign}, median {}{sign}", claim.shown(median, None)),
                None => mean + sign,
            }
        }
    }
}

fn published(claim: &Claim) -> String {
    match &claim.published {
        None => "–".to_string(),
        Some(Published { mean: None, .. }) => "not seen".to_string(),
        Some(Published { mean: Some(mean), sd, .. }) => claim.shown(*mean, *sd) + claim.sign(),
    }
}

/// Returns our number, with the published one in brackets.
fn beside(claim: &Claim) -> String {
    match claim.published.as_ref().is_some_and(|published| published.mean.is_some()) {
        true => format!("{} ({})", ours(claim), published(claim)),
        false => ours(claim),
    }
}

/// Returns the seeds that a number is of, if they are consecutive, else how many values it is of.
fn seeds(job: &Job, claim: &Claim) -> String {
    let Some(ours) = claim.ours else { return "–".to_string() };
    match (&job.seeds[..], ours.count) {
        ([only], 1) => only.to_string(),
        ([first, .., last], count)
            if count == job.seeds.len() && *last == first + count as u64 - 1 =>
        {
            format!("{first}–{last}")
        }
        (_, 1) => "1 run".to_string(),
        (_, count) => format!("{count} runs"),
    }
}

/// Returns how the networks of a job learn, and how they are read out.
pub(super) fn kinds(job: &Job) -> String {
    let kinds =
        job.claims.iter().map(|claim| format!("{}, {}", claim.learning.name(), claim.read_out));
    distinct(kinds).join("; ")
}

/// Returns the minutes and the memory of a job, by device.
pub(super) fn price(job: &Job) -> String {
    let mut parts: Vec<String> = Vec::new();
    let devices: BTreeSet<&String> = job.minutes.keys().chain(job.memory.keys()).collect();
    for device in devices {
        let time = job.minutes.get(device).map(|&minutes| duration(minutes));
        let memory = job.memory.get(device).map(|&memory| match memory < 0.095 {
            true => format!("{:.0} MB", 1000.0 * memory),
            false => format!("{memory:.1} GB"),
        });
        let both: Vec<String> = time.into_iter().chain(memory).collect();
        parts.push(format!("{device}: {}", both.join(", ")));
    }
    if job.preset.is_some() && job.seeds.len() > 1 {
        parts.push("each --seed".to_string());
    }
    match parts.is_empty() {
        true => "time not known".to_string(),
        false => parts.join("; "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hebbian_train::Ours;

    #[test]
    fn little_memory_is_in_megabytes() -> Result<()> {
        let mut job = Entry::embedded()?.swap_remove(0).record.jobs.swap_remove(0);
        for (memory, shown) in [(0.04, ", 40 MB"), (0.1, ", 0.1 GB"), (12.34, ", 12.3 GB")] {
            job.minutes = [("cpu".to_string(), 2.0)].into();
            job.memory = [("cpu".to_string(), memory)].into();
            assert!(price(&job).contains(shown), "{}", price(&job));
        }
        Ok(())
    }

    /// Seeds are named if they are consecutive and each has a value.
    #[test]
    fn seeds_are_named_or_counted() -> Result<()> {
        let mut job = Entry::embedded()?.swap_remove(0).record.jobs.swap_remove(0);
        let mut claim = job.claims.swap_remove(0);
        let cases: [(&[u64], usize, &str); 5] = [
            (&[7], 1, "7"),
            (&[2, 3, 4], 3, "2–4"),
            (&[0, 2, 3], 3, "3 runs"),
            (&[0, 1, 2], 2, "2 runs"),
            (&[0, 1], 1, "1 run"),
        ];
        for (of, count, shown) in cases {
            job.seeds = of.to_vec();
            claim.ours = Some(Ours { mean: 0.5, sd: None, median: None, count });
            assert_eq!(seeds(&job, &claim), shown, "{of:?}");
        }
        claim.ours = None;
        assert_eq!(seeds(&job, &claim), "–");
        Ok(())
    }

    /// Text outside the marks is kept, and a table that is not closed or not known is refused.
    #[test]
    fn only_tables_are_replaced() -> Result<()> {
        let entries = Entry::embedded()?;
        let text = format!("before\n{}headline -->\nearlier table\n{}\nafter\n", MARK[0], MARK[1]);
        let mut shown = BTreeSet::new();
        let once = replaced(&text, &entries, &mut shown)?;
        assert!(once.starts_with("before\n") && once.ends_with(&format!("\n{}\nafter\n", MARK[1])));
        assert!(!once.contains("earlier table") && once.contains(&headline(&entries)));
        assert_eq!(replaced(&once, &entries, &mut shown)?, once);
        assert_eq!(shown, BTreeSet::from([HEADLINE.to_string()]));
        // Two records make one table, with the rows of both.
        let names = ["patches/digits", "k-means/digits"];
        let both = format!("{}{} -->\n{}\n", MARK[0], names.join(" "), MARK[1]);
        let both = replaced(&both, &entries, &mut shown)?;
        for entry in entries.iter().filter(|entry| names.contains(&&*entry.name())) {
            let claims = entry.record.jobs.iter().flat_map(|job| &job.claims);
            assert!(claims.into_iter().all(|claim| both.contains(&format!("| {} |", claim.row))));
            assert!(shown.contains(&entry.name()));
        }
        assert_eq!(both.matches("| seeds |").count(), 1);
        for (wrong, says) in [
            (format!("{}headline -->\n", MARK[0]), "headline has no end"),
            (format!("{}nothing -->\n{}\n", MARK[0], MARK[1]), "no record nothing"),
        ] {
            let error = replaced(&wrong, &entries, &mut shown).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        Ok(())
    }
}
