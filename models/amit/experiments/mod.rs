//! The paper's figures, each as one experiment that trains networks side by side and writes a table and a
//! picture.

mod arm;
mod bars;
mod correlations;
mod curves;
mod depth;
mod feedback;
mod filters;
mod linear;
mod mixture;
mod protocols;

use arm::{DIGITS, Runner};
use hebbian_data::Dataset;
use hebbian_train::{Error, Result, Study, experiments};

experiments! {
    /// A figure of the paper, or a comparison that is not in it.
    pub enum Experiment {
        /// URFB, FRFB and back-propagation in a deep network for small images. Not in the paper.
        Protocols: "protocols", "URFB, FRFB and BP-H in four hidden layers";
        /// Fig. 4: error against epoch, simpnet.
        Fig4: "fig4", "simpnet: error against epoch, by protocol";
        /// Fig. 5: error of each protocol and loss, simpnet.
        Fig5: "fig5", "simpnet: test error by protocol and loss";
        /// Fig. 6: the same for deepnet and deepernet.
        Fig6: "fig6", "deepnet and deepernet: test error by protocol and loss";
        /// Fig. 7: error against epoch, deepernet.
        Fig7: "fig7", "deepernet: error against epoch, by protocol";
        /// Fig. 8: filters of untied simpnet at four places of the image.
        Fig8: "fig8", "simpnet untied: filters at four places of the image";
        /// Fig. 9: tied against untied weights, simpnet and deepernet-s.
        Fig9: "fig9", "simpnet and deepernet-s: test error tied and untied";
        /// Fig. 10: correlation of weights and feedback against epoch, simpnet.
        Fig10: "fig10", "simpnet: correlation of weights and feedback";
        /// Fig. 11: the same for the seven layers of untied deepernet-s that learn.
        Fig11: "fig11", "deepernet-s untied: correlation of weights and feedback";
        /// Fig. 12: the linear case.
        Fig12: "fig12", "the linear case: error and correlation (simulated)";
        /// Error against depth on the [`Mixture`](super::Mixture). Not in the paper.
        Depth: "depth", "error by protocol with 1, 2 and 4 hidden layers (synthetic)";
        /// Every protocol on the [`Mixture`](super::Mixture), with the agreement of its feedback. Not in the paper.
        Feedback: "feedback", "every way of sending the error back, four hidden layers (synthetic)";
    }
}

impl Experiment {
    /// Whether the experiment needs the images of a data set. The others generate their own data.
    pub fn needs_images(self) -> bool {
        !matches!(self, Self::Fig12 | Self::Depth | Self::Feedback)
    }

    /// Runs the experiment and writes the study's folder: `table.csv`, `results.json`, `figure.png`, and a
    /// run folder for each network and seed. Returns a report for the terminal.
    ///
    /// # Errors
    /// If the options do not fit the experiment, or if [`Study::run`] or [`hebbian_train::train`] fails.
    pub fn run(self, study: &Study, data: Option<&Dataset>) -> Result<String> {
        let refuse = |what: String| Err(Error::Argument(format!("{}: {what}", self.name())));
        if self == Self::Fig12 && study.options.epochs.is_some() {
            return refuse("a simulation has no epochs: leave them out".to_string());
        }
        let data = match (data, self.needs_images()) {
            (None, true) => return refuse("learns images: give a data set".to_string()),
            (Some(data), false) => {
                return refuse(format!("makes its own data: leave out {}", data.name));
            }
            (data, _) => data,
        };
        let dataset = data.map(|data| data.name.as_str());
        study.run(self.name(), data, &[], || {
            let runner = Runner { study, data };
            let mut figure = match self {
                Self::Protocols => protocols::draw(&runner),
                Self::Fig4 => curves::draw(&runner, "simpnet"),
                Self::Fig5 => bars::protocols(&runner, &["simpnet"]),
                Self::Fig6 => bars::protocols(&runner, &["deepnet", "deepernet"]),
                Self::Fig7 => curves::draw(&runner, "deepernet"),
                Self::Fig8 => filters::draw(&runner),
                Self::Fig9 => bars::untied(&runner, &["simpnet", "deepernet-s"]),
                Self::Fig10 => correlations::draw(&runner, "simpnet"),
                Self::Fig11 => correlations::draw(&runner, "deepernet-s-untied"),
                Self::Fig12 => {
                    study.without_runs(self.name())?;
                    study.begin()?;
                    linear::draw(&runner)
                }
                Self::Depth => depth::draw(&runner),
                Self::Feedback => feedback::draw(&runner),
            }?;
            if dataset == Some("digits") && self != Self::Protocols {
                figure.text = figure.text + "\n" + DIGITS;
            }
            Ok(figure)
        })
    }
}
