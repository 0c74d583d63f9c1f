//! Example programs: see the folders beside this file. The code of the guide in `docs/` is compiled and run here.

/// The pages of the guide that have code. Each block of code is a doctest.
#[cfg(doctest)]
mod guide {
    macro_rules! pages {
        ($($name:ident: $page:literal)*) => {
            $(
                #[doc = include_str!($page)]
                mod $name {}
            )*
        };
    }

    pages! {
        adding_a_method: "../docs/src/adding-a-method.md"
        amit: "../docs/src/amit.md"
        analysis: "../docs/src/analysis.md"
        asymmetric_feedback: "../docs/src/asymmetric-feedback.md"
        first_run: "../docs/src/first-run.md"
        ghl: "../docs/src/ghl.md"
        golkar: "../docs/src/golkar.md"
        k_means: "../docs/src/k-means.md"
        krotov_hopfield: "../docs/src/krotov-hopfield.md"
        miconi: "../docs/src/miconi.md"
        models: "../docs/src/models.md"
        own_data: "../docs/src/own-data.md"
        own_device: "../docs/src/own-device.md"
        own_network: "../docs/src/own-network.md"
        own_rule: "../docs/src/own-rule.md"
        patches: "../docs/src/patches.md"
        performance: "../docs/src/performance.md"
        pytorch: "../docs/src/pytorch.md"
        reading_out: "../docs/src/reading-out.md"
        reliability: "../docs/src/reliability.md"
        reproducing: "../docs/src/reproducing.md"
        softhebb: "../docs/src/softhebb.md"
        the_idea: "../docs/src/the-idea.md"
    }
}
