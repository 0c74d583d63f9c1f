//! The flags of the analyses.

use anyhow::{Result, bail};
use hebbian_data::transforms::TransformList;
use serde::Serialize;

/// The most intervals of a histogram, of which no picture can show more, and the most repetitions of anything.
const MOST: usize = 10_000;

/// How the analyses measure.
#[derive(Debug, Clone, Serialize, clap::Args)]
#[command(next_help_heading = "Measuring")]
pub(super) struct Settings {
    /// Training images that read-outs learn from, spread evenly over the set
    #[arg(long, value_name = "N", default_value_t = 2000)]
    pub train_images: usize,
    /// Test images, spread evenly over the set
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub test_images: usize,
    /// Penalties α of ridge regression on standardised features; of several, the one with the best accuracy on an
    /// eighth of the training images, which are held out for this choice (the first if several are equal)
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_values_t = [30.0, 300.0, 3000.0, 30000.0])]
    pub penalty: Vec<f64>,
    /// Fit ridge regression of layers once more, on the training images and on changed copies of them: a list as for
    /// `train --augment`, such as random-crop=32:padding=4,flip
    #[arg(long, value_name = "LIST")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub augment: Option<TransformList>,
    /// Changed copies of each training image, for --augment
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub augmented_copies: usize,
    /// Fit ridge regression of layers once more, on the mean of the features of each image and of its mirror image
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub mirrored: bool,
    /// Shares of labels, in percent
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_values_t = [1.0, 2.0, 5.0, 10.0, 100.0])]
    pub shares: Vec<f64>,
    /// How often labels are drawn for each share
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub draws: usize,
    /// Random networks beside the learned one; 0 for none
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub random_networks: usize,
    /// Standard deviations σ of Gaussian noise, where pixels are from 0 to 1
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_values_t = [0.1, 0.2, 0.3, 0.4])]
    pub noise: Vec<f64>,
    /// Sides s of the occluding square, in pixels [default: 1, 2, 3 and 4 eighths of the image's shorter side]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub occlusion: Vec<usize>,
    /// What the occluding square is filled with, from 0 (black) to 1
    #[arg(long, value_name = "VALUE", default_value_t = 0.5)]
    pub occluder: f64,
    /// Strengths ε of FGSM, PGD and Square Attack: the most that a pixel changes, where pixels are from 0 to 1
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_values_t = [0.02, 0.05, 0.1, 0.2])]
    pub attack: Vec<f64>,
    /// Steps of PGD, each of 2.5 ε / steps
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub pgd_steps: usize,
    /// Squares that Square Attack tries [default: 100 for a network without a gradient, else none: each takes a pass of all
    /// test images]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queries: Option<usize>,
    /// How near to 1 a radius must be to count for R1 [default: 0.01, in a dense layer of SoftHebb 0.005]
    #[arg(long, value_name = "DISTANCE")]
    pub near: Option<f64>,
    /// Intervals of histograms
    #[arg(long, value_name = "N", default_value_t = 40)]
    pub bins: usize,
    /// Seed of noise, places of occlusion, starts of PGD, squares, draws of labels and random networks
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

impl Settings {
    /// Checks that the settings are in range.
    ///
    /// # Errors
    /// A number that nothing can be measured with.
    pub(super) fn check(&self) -> Result<()> {
        let counts = [
            ("--train-images", self.train_images),
            ("--test-images", self.test_images),
            ("--augmented-copies", self.augmented_copies),
            ("--draws", self.draws),
            ("--pgd-steps", self.pgd_steps),
            ("--queries", self.queries.unwrap_or(1)),
            ("--bins", self.bins),
        ];
        for (flag, count) in
            counts.into_iter().chain(self.occlusion.iter().map(|&side| ("--occlusion", side)))
        {
            if count == 0 {
                bail!("{flag} is 0, expected 1 or more");
            }
        }
        let repeated = [
            ("--augmented-copies", self.augmented_copies),
            ("--draws", self.draws),
            ("--random-networks", self.random_networks),
            ("--pgd-steps", self.pgd_steps),
            ("--queries", self.queries.unwrap_or(1)),
            ("--bins", self.bins),
        ];
        if let Some((flag, count)) = repeated.into_iter().find(|(_, count)| *count > MOST) {
            bail!("{flag} is {count}, expected {MOST} or fewer");
        }
        if self.augmented_copies > 1 && self.augment.is_none() {
            bail!(
                "--augmented-copies {}: nothing changes the images, choose what with --augment",
                self.augmented_copies
            );
        }
        if let Some(share) = self.shares.iter().find(|share| !(**share > 0.0 && **share <= 100.0)) {
            bail!("--shares has {share}, expected percent: above 0, and 100 at most");
        }
        if self.shares.is_empty() {
            bail!("--shares is empty, expected one or more");
        }
        if self.penalty.is_empty() {
            bail!("--penalty is empty, expected one or more");
        }
        let lists =
            [("--penalty", &self.penalty), ("--noise", &self.noise), ("--attack", &self.attack)];
        let numbers = lists
            .into_iter()
            .flat_map(|(flag, list)| list.iter().map(move |&number| (flag, number)));
        let numbers = numbers.chain(self.near.map(|near| ("--near", near)));
        for (flag, number) in numbers {
            if !(number >= 0.0 && number.is_finite()) {
                bail!("{flag} has {number}, expected a number from 0 up");
            }
        }
        if !(0.0..=1.0).contains(&self.occluder) {
            bail!("--occluder is {}, expected a number from 0 to 1", self.occluder);
        }
        Ok(())
    }
}
