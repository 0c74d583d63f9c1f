//! The reference vectors that ship with the repository: on every device, in every precision it has.

use candle::{DType, Device};
use candle_hebbian::test_device;
use hebbian_models::verify::{Case, Error, Kind, shipped};

/// All cases of a kind pass, and there are `count` of them.
fn check(kind: Kind, count: usize, device: &Device) -> Result<(), Error> {
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
    assert_eq!(checked, count, "cases of {kind}");
    Ok(())
}

fn rule(device: &Device) -> Result<(), Error> {
    check(Kind::Rule, 72, device)
}

fn hinge(device: &Device) -> Result<(), Error> {
    check(Kind::Hinge, 3, device)
}

fn feedback(device: &Device) -> Result<(), Error> {
    check(Kind::Feedback, 9, device)
}

fn pool(device: &Device) -> Result<(), Error> {
    check(Kind::Pool, 6, device)
}

fn pad(device: &Device) -> Result<(), Error> {
    check(Kind::Pad, 1, device)
}

fn zca(device: &Device) -> Result<(), Error> {
    check(Kind::Zca, 1, device)
}

fn amit_steps(device: &Device) -> Result<(), Error> {
    check(Kind::AmitSteps, 5, device)
}

fn softhebb_steps(device: &Device) -> Result<(), Error> {
    check(Kind::SofthebbSteps, 4, device)
}

fn miconi_steps(device: &Device) -> Result<(), Error> {
    check(Kind::MiconiSteps, 3, device)
}

fn local_supervision_steps(device: &Device) -> Result<(), Error> {
    check(Kind::LocalSupervisionSteps, 4, device)
}

test_device!(
    rule,
    hinge,
    feedback,
    pool,
    pad,
    zca,
    amit_steps,
    softhebb_steps,
    miconi_steps,
    local_supervision_steps,
);
