//! Small trained models that come with the crate.

use hebbian_train::{Result, choose};

/// A model that is compiled into the program.
#[derive(Clone, Copy)]
pub(crate) struct Shipped {
    pub config: &'static str,
    pub weights: &'static [u8],
    /// The model's card and results, with their file names.
    pub about: [(&'static str, &'static str); 2],
}

macro_rules! shipped {
    ($($name:literal)*) => {
        /// The names of the models that [`Model::from_zoo`](crate::Model::from_zoo) loads. Each was trained with the
        /// preset of its data set and seed 0; its folder under `models/zoo` has its card and results.
        pub const ZOO: &[&str] = &[$($name),*];

        const MODELS: &[(&str, Shipped)] = &[$((
            $name,
            Shipped {
                config: include_str!(concat!("zoo/", $name, "/config.json")),
                weights: include_bytes!(concat!("zoo/", $name, "/model.safetensors")),
                about: [
                    ("README.md", include_str!(concat!("zoo/", $name, "/README.md"))),
                    ("results.json", include_str!(concat!("zoo/", $name, "/results.json"))),
                ],
            },
        )),*];
    };
}

shipped! {
    "amit-digits"
    "golkar-digits"
    "golkar-mnist"
    "krotov-hopfield-digits"
    "krotov-hopfield-mnist"
    "miconi-digits"
    "patches-digits"
    "softhebb-digits"
}

/// Returns the model with that name.
pub(crate) fn find(name: &str) -> Result<Shipped> {
    choose("model in the zoo", name, MODELS)
}
