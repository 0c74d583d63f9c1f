//! Everything that a page shows, collected from the folders of runs.

use super::curves::{Chart, MOMENTS, charts};
use super::run::{Details, Folder, Run};
use super::sheet::png_address;
use crate::choices::{Difference, Group, groups};
use candle::Device;
use hebbian_data::Dataset;
use hebbian_train::{Spread, StudyFolder};
use serde::Serialize;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// The number of runs whose layers and mistakes are shown, one of each group first.
const DETAILED: usize = 4;

/// Everything that a page shows.
#[derive(Debug, Serialize)]
pub(super) struct Content {
    pub title: String,
    version: &'static str,
    /// Seconds since 1970.
    written: u64,
    /// Whether the run is in progress: the page then asks for new data.
    live: bool,
    pub runs: Vec<Run>,
    groups: Vec<Group>,
    /// The mean and the spread of the accuracies of each group.
    accuracies: Vec<Option<Accuracy>>,
    differences: Vec<Difference>,
    charts: Vec<Chart>,
    /// The study that the runs belong to, if there is one and it is complete.
    study: Option<Outcome>,
}

/// The outcome of a study.
#[derive(Debug, Serialize)]
struct Outcome {
    name: String,
    /// The report that the terminal showed.
    text: String,
    /// A `data:` URL.
    figure: Option<String>,
}

impl Outcome {
    fn of(folder: StudyFolder) -> Self {
        let StudyFolder { name, report, figure } = folder;
        Self { name, text: report, figure: std::fs::read(figure).ok().map(|png| png_address(&png)) }
    }
}

#[derive(Debug, Serialize)]
struct Accuracy {
    mean: f64,
    sd: Option<f64>,
    runs: usize,
}

impl Content {
    /// Collects the content for runs, with the images `data` or, if there are none, those that each run says it had.
    pub(super) fn new(
        folders: &[Folder],
        data: Option<&Dataset>,
        data_dir: Option<&Path>,
        device: &Device,
    ) -> Self {
        let (groups, differences) = grouped(folders);
        // The first run of each group, then the second of each.
        let longest = groups.iter().map(|group| group.runs.len()).max().unwrap_or_default();
        let order = (0..longest).flat_map(|nth| groups.iter().filter_map(move |g| g.runs.get(nth)));
        let detailed: Vec<usize> = order.copied().take(DETAILED).collect();
        let details =
            folders.iter().enumerate().map(|(at, folder)| match (detailed.contains(&at), data) {
                (false, _) => Details::default(),
                (true, Some(data)) => Details::of(folder, Ok(data), device, detailed.len()),
                (true, None) => {
                    let loaded = folder.images(data_dir).map_err(|error| format!("{error:#}"));
                    let loaded = loaded.as_ref().map_err(Clone::clone);
                    Details::of(folder, loaded, device, detailed.len())
                }
            });
        let runs = folders.iter().zip(details).map(|(folder, details)| Run::new(folder, details));
        Self::of(folders, runs.collect(), groups, differences)
    }

    /// Adds the study that the runs belong to, if there is one.
    pub(super) fn of_study(self, study: Option<StudyFolder>) -> Self {
        let Some(study) = study else { return self };
        let title = match self.runs.len() {
            0 => study.name.clone(),
            runs => format!("{}: {runs} runs", study.name),
        };
        Self { title, study: Some(Outcome::of(study)), ..self }
    }

    /// Collects the content for a run in progress.
    pub(super) fn live(folder: Folder, details: Details) -> Self {
        let runs = vec![Run::new(&folder, details)];
        let folders = [folder];
        let (groups, differences) = grouped(&folders);
        Self { live: true, ..Self::of(&folders, runs, groups, differences) }
    }

    fn of(
        folders: &[Folder],
        runs: Vec<Run>,
        groups: Vec<Group>,
        differences: Vec<Difference>,
    ) -> Self {
        let of_group =
            |group: &Group| group.runs.iter().map(|&run| &folders[run]).collect::<Vec<_>>();
        let histories: Vec<Vec<_>> = groups
            .iter()
            .map(|group| of_group(group).into_iter().map(|folder| &folder.history).collect())
            .collect();
        let accuracies = groups.iter().map(|group| {
            let results = of_group(group).into_iter().filter_map(|folder| folder.results.as_ref());
            let all: Vec<f64> = results.map(|results| results.test_accuracy).collect();
            let Spread { mean, sd } = Spread::of(&all)?;
            Some(Accuracy { mean, sd, runs: all.len() })
        });
        let title = match &groups[..] {
            [group] => group.name.clone(),
            groups => format!("{} runs in {} groups", folders.len(), groups.len()),
        };
        let written = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self {
            title,
            version: env!("CARGO_PKG_VERSION"),
            written,
            live: false,
            study: None,
            accuracies: accuracies.collect(),
            charts: charts(&histories, MOMENTS).into_iter().filter(Chart::is_drawn).collect(),
            runs,
            groups,
            differences,
        }
    }
}

/// Groups runs, and returns what differs between the groups. A group whose runs are those of one network of a study has
/// the name that the study gives the network.
pub(crate) fn grouped<'f>(
    folders: impl IntoIterator<Item = &'f Folder>,
) -> (Vec<Group>, Vec<Difference>) {
    let folders: Vec<&Folder> = folders.into_iter().collect();
    let (mut groups, differences) =
        groups(&folders.iter().map(|folder| &folder.config).collect::<Vec<_>>());
    for group in &mut groups {
        let mut arms = group.runs.iter().map(|&run| folders[run].arm.as_ref());
        if let Some(Some(arm)) = arms.next()
            && arms.all(|other| other == Some(arm))
        {
            group.name.clone_from(arm);
        }
    }
    (groups, differences)
}
