//! The feature cache and the check for finite values.

use candle::{DType, Device, Tensor};
use hebbian_data::Batches;
use hebbian_train::{check_finite, collect_features};

fn in_order(count: usize, batch_size: usize) -> Batches {
    Batches::sequential(count, batch_size).unwrap()
}

#[test]
fn batches_end_up_in_their_place() {
    let all = Tensor::arange(0f32, 7. * 6., &Device::Cpu).unwrap().reshape((7, 2, 3)).unwrap();
    for batch in [1, 3, 7, 100] {
        let mut asked: Vec<usize> = Vec::new();
        let features = collect_features(in_order(7, batch), &Device::Cpu, |batch| {
            asked.extend(batch);
            // The strides differ from those of the result.
            Ok(all.narrow(0, batch[0], batch.len())?.transpose(1, 2)?)
        })
        .unwrap();
        assert_eq!(asked, (0..7).collect::<Vec<_>>());
        assert_eq!(features.dims(), [7, 6]);
        let expected = all.transpose(1, 2).unwrap().flatten_from(1).unwrap();
        assert_eq!(features.to_vec2::<f32>().unwrap(), expected.to_vec2::<f32>().unwrap());
    }
}

#[test]
fn batches_that_do_not_fit_are_errors() {
    let rows = |n: usize, f: usize| Ok(Tensor::zeros((n, f), DType::F32, &Device::Cpu)?);
    let cpu = &Device::Cpu;
    let error = collect_features(in_order(4, 2), cpu, |_| rows(1, 3)).unwrap_err().to_string();
    assert!(error.contains("features of 2 samples have 1 rows, expected one each"), "{error}");
    assert!(collect_features(in_order(4, 2), cpu, |batch| rows(2, 1 + batch[0])).is_err());
    let error = collect_features(in_order(0, 2), cpu, |_| rows(0, 3)).unwrap_err().to_string();
    assert!(error.contains("no samples to compute features of"), "{error}");
}

#[test]
fn not_finite_values_are_counted() {
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let tensor = Tensor::new(&[[1f32, nan, inf], [-inf, 0., nan]], &Device::Cpu).unwrap();
    for dtype in [DType::F32, DType::F64, DType::BF16] {
        let error = check_finite("w", 12, &tensor.to_dtype(dtype).unwrap()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("w is not finite at step 12: 2 NaN and 2 infinite of 6"), "{text}");
    }
    // +∞ and −∞ alone do not cancel out.
    assert!(check_finite("w", 0, &Tensor::new(&[inf, -inf], &Device::Cpu).unwrap()).is_err());
    // Large finite values whose sum overflows are accepted.
    check_finite("w", 0, &Tensor::new(&[f32::MAX, f32::MAX], &Device::Cpu).unwrap()).unwrap();
    check_finite("w", 0, &Tensor::new(&[f64::MAX, 1.0], &Device::Cpu).unwrap()).unwrap();
    check_finite("w", 0, &Tensor::zeros(5, DType::U8, &Device::Cpu).unwrap()).unwrap();
}
