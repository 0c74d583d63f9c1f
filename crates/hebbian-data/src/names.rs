use std::fmt;
use std::str::FromStr;

use crate::{Error, Photographs};

/// The data sets that this crate can load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DatasetName {
    /// The embedded handwritten digits, 8×8 grey, ten classes: see [`digits`](crate::digits).
    Digits,
    /// MNIST, 28×28 grey, ten classes (Y. LeCun, C. Cortes and C. Burges).
    Mnist,
    /// Fashion-MNIST, 28×28 grey, ten classes (H. Xiao, K. Rasul and R. Vollgraf, 2017).
    FashionMnist,
    /// CIFAR-10, 32×32 colour, ten classes (A. Krizhevsky, 2009).
    Cifar10,
    /// CIFAR-100 with its fine labels, 32×32 colour, a hundred classes (A. Krizhevsky, 2009).
    Cifar100,
    /// The labelled images of STL-10, 96×96 colour, ten classes, 5,000 to learn from and 8,000 to test with
    /// (A. Coates, H. Lee and A. Y. Ng, 2011).
    Stl10,
}

impl DatasetName {
    /// All data sets.
    pub const ALL: [Self; 6] =
        [Self::Digits, Self::Mnist, Self::FashionMnist, Self::Cifar10, Self::Cifar100, Self::Stl10];

    /// Returns the name that [`FromStr`] parses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Digits => "digits",
            Self::Mnist => "mnist",
            Self::FashionMnist => "fashion-mnist",
            Self::Cifar10 => "cifar10",
            Self::Cifar100 => "cifar100",
            Self::Stl10 => "stl10",
        }
    }

    /// Returns the class names, in the order of the labels.
    pub fn class_names(self) -> Vec<String> {
        self.classes().iter().map(ToString::to_string).collect()
    }

    /// Channels, height and width of the images.
    pub(crate) fn shape(self) -> (usize, usize, usize) {
        match self {
            Self::Digits => (1, 8, 8),
            Self::Mnist | Self::FashionMnist => (1, 28, 28),
            Self::Cifar10 | Self::Cifar100 => (3, 32, 32),
            Self::Stl10 => (3, 96, 96),
        }
    }

    /// The folder of the set's parquet files in its repository.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Digits => "digits",
            Self::Mnist => "mnist",
            Self::FashionMnist => "fashion_mnist",
            Self::Cifar10 => "plain_text",
            Self::Cifar100 => "cifar100",
            Self::Stl10 => "default",
        }
    }

    pub(crate) fn classes(self) -> &'static [&'static str] {
        match self {
            Self::Digits | Self::Mnist => &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
            Self::FashionMnist => &FASHION,
            Self::Cifar10 => &CIFAR10,
            Self::Cifar100 => &CIFAR100,
            Self::Stl10 => &STL10,
        }
    }
}

impl fmt::Display for DatasetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for DatasetName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|known| known.as_str() == name).ok_or_else(|| {
            Error::UnknownDataset {
                name: name.into(),
                known: Self::ALL
                    .map(Self::as_str)
                    .into_iter()
                    .chain(Photographs::ALL.map(|set| set.name))
                    .collect::<Vec<_>>()
                    .join(", "),
            }
        })
    }
}

const FASHION: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

const CIFAR10: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

const STL10: [&str; 10] =
    ["airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"];

#[rustfmt::skip]
const CIFAR100: [&str; 100] = [
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle",
    "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle",
    "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur",
    "dolphin", "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard",
    "lamp", "lawn_mower", "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain",
    "mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree",
    "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road", "rocket",
    "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider",
    "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone", "television", "tiger", "tractor",
    "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
];
