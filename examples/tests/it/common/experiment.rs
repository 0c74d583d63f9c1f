//! What holds for the experiments of every program.

use super::program::Place;

/// Checks that resuming the complete experiment of `args`, which has shown `shown`, shows it again, learns nothing and
/// writes nothing, and that another experiment is not resumed.
pub fn a_finished_one_is_read_back(place: &Place, args: &[&str], shown: &str) {
    let before = place.contents();
    let again = place.run(&[args, &["--resume"]].concat()).ok();
    assert_eq!(again.stdout, shown);
    assert!(before == place.contents(), "reading back wrote something");
    let other = [args, &["--resume", "--seed", "77"]].concat();
    place.refused(&other, &["/experiment.json", "first_seed is 0 there, 77 here"]);
}
