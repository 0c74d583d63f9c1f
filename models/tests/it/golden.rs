//! The reference vectors that ship with the repository: on every device, in every precision it has.

use candle::{DType, Device};
use candle_hebbian::test_device;
use hebbian_models::verify::{Case, Error, Kind, shipped};

/// Checks that all cases of a kind pass, and that there are `least` of them or more.
fn check(kind: Kind, least: usize, device: &Device) -> Result<(), Error> {
    let dtypes: &[DType] = match device {
        Device::Metal(_) => &[DType::F32],
        _ => &[DType::F32, DType::F64],
    };
    let mut checked = 0;
    for path in shipped()? {
        let case = Case::read(&path)?;
        if case.kind() != kind {
            continue;
        }
        checked += 1;
        for &dtype in dtypes {
            let outcome = case.run(dtype, device)?;
            let worst = outcome.worst();
            assert!(outcome.passed(), "{} in {dtype:?}: {worst:?}", case.name());
        }
    }
    assert!(checked >= least, "{checked} cases of {kind}");
    Ok(())
}

/// A check of each kind, and its tests.
macro_rules! kinds {
    ($($name:ident: $kind:ident, $least:literal;)+) => {
        $(fn $name(device: &Device) -> Result<(), Error> {
            check(Kind::$kind, $least, device)
        })+
        test_device!($($name),+);
    };
}

kinds! {
    rule: Rule, 72;
    hinge: Hinge, 3;
    feedback: Feedback, 9;
    pool: Pool, 6;
    pad: Pad, 1;
    zca: Zca, 1;
    amit_steps: AmitSteps, 5;
    softhebb_steps: SofthebbSteps, 4;
    miconi_steps: MiconiSteps, 3;
    local_supervision_steps: LocalSupervisionSteps, 4;
}
