/// Calls the macro of the given name with every method of the zoo, as `module::Method` one after the other. This is the
/// only place that lists the methods.
///
/// ```
/// macro_rules! names {
///     ($($module:ident::$method:ident)*) => {
///         [$(<hebbian_models::$module::$method as hebbian_train::Method>::NAME),*]
///     };
/// }
/// let names = hebbian_models::for_each_method!(names);
/// assert!(names.contains(&"softhebb"));
/// ```
#[macro_export]
macro_rules! for_each_method {
    ($callback:ident) => {
        $callback! {
            amit::Amit
            ghl::Ghl
            golkar::Golkar
            k_means::KMeans
            krotov_hopfield::KrotovHopfield
            miconi::Miconi
            patches::Patches
            softhebb::Softhebb
        }
    };
}
