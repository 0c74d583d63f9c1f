//! The experiments of a method.

/// Defines the enum of a method's experiments, each with a name and a one-line description, and parses it from a name.
#[macro_export]
macro_rules! experiments {
    (
        $(#[$about:meta])*
        pub enum Experiment {
            $($(#[$doc:meta])* $variant:ident: $name:literal, $line:literal;)+
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Experiment {
            $($(#[$doc])* $variant,)+
        }

        impl Experiment {
            /// All experiments.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];
            /// The names of all experiments, each with a line of description.
            pub const LIST: &'static [(&'static str, &'static str)] = &[$(($name, $line)),+];

            /// The name that [`FromStr`](std::str::FromStr) reads.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

        }

        impl std::str::FromStr for Experiment {
            type Err = $crate::Error;

            fn from_str(name: &str) -> $crate::Result<Self> {
                let all = Self::ALL.map(|experiment| (experiment.name(), experiment));
                $crate::choose("experiment", name, &all)
            }
        }
    };
}
