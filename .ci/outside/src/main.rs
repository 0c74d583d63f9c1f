//! Trains, checks where the weights went, and prints them.

use candle::{Device, Result, bail};

fn main() -> Result<()> {
    let weight = outside::train()?;
    // The noise has the mean 1/8, so a unit of the one kind ends at the direction of 9/8 in its
    // own half and 1/8 in the other, with norm 1 (SoftHebb's fixed point).
    let mean = (outside::kinds(&Device::Cpu)? + 0.125)?;
    let norms = mean.sqr()?.sum_keepdim(1)?.sqrt()?;
    let expected = mean.broadcast_div(&norms)?;
    let distances = (&weight - expected)?.sqr()?.sum(1)?.sqrt()?.to_vec1::<f32>()?;
    if distances.iter().any(|&distance| !(distance < 0.05)) {
        bail!("the units are {distances:?} from where they should be");
    }
    for value in weight.flatten_all()?.to_vec1::<f32>()? {
        println!("{value:?}");
    }
    Ok(())
}
