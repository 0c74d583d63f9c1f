//! The precision of products, which is set for the whole process: so these tests are a program of their own.

use candle::{DType, Device, Module, Result, Tensor, Var};
use candle_hebbian::{
    Conv2dConfig, Geometry, Layer, MatmulPrecision, Rng, matmul_precision, set_matmul_precision,
};

/// Whether the library uses this processor's instructions for bf16.
fn multiplies_bf16() -> bool {
    #[cfg(all(target_arch = "x86_64", target_os = "linux", feature = "x86-v4"))]
    return is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16");
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux", feature = "x86-v4")))]
    return false;
}

/// A layer's response to `x`, and the gradients of its input and of its weight for a response's gradient of `delta`.
fn all_products(
    geometry: Geometry,
    x: &Tensor,
    weight: &Tensor,
    delta: &Tensor,
) -> Result<[Tensor; 3]> {
    let (x, weight) = (Var::from_tensor(x)?, Var::from_tensor(weight)?);
    let response = Layer::new(weight.as_tensor().clone(), geometry)?.forward(&x)?;
    let grads = (&response * delta)?.sum_all()?.backward()?;
    let grad = |of: &Var| grads.get(of).expect("a gradient").clone();
    Ok([response.detach(), grad(&x), grad(&weight)])
}

/// With each setting, all three products of a layer are what f64 gives, up to the error of that setting: a share of the
/// largest sum of magnitudes, which is the same product of absolute values. The sizes are such that processors that can
/// multiply bf16 do so for all three products of the dense layer and for the response of the kernels of 4×4.
#[test]
fn each_setting_has_its_precision() -> Result<()> {
    let strided = Geometry::Conv2d(Conv2dConfig { padding: 1, stride: 2, ..Default::default() });
    let filtered = Geometry::Conv2d(Conv2dConfig { padding: 1, ..Default::default() });
    let cases: [(Geometry, [&[usize]; 3]); 3] = [
        (Geometry::Dense, [&[256, 320], &[288, 320], &[256, 288]]),
        (strided, [&[8, 128, 16, 16], &[256, 128, 4, 4], &[8, 256, 8, 8]]),
        (filtered, [&[4, 32, 12, 12], &[64, 32, 3, 3], &[4, 64, 12, 12]]),
    ];
    for (geometry, [x, weight, delta]) in cases {
        let rng = Rng::new(5);
        let draw = |name, shape| rng.stream(name).normal(0.0, 1.0, shape, DType::F32, &Device::Cpu);
        let all = [draw("x", x)?, draw("weight", weight)?, draw("delta", delta)?];
        let in_f64 = |of: &Tensor| of.to_dtype(DType::F64);
        let [x, weight, delta] = [in_f64(&all[0])?, in_f64(&all[1])?, in_f64(&all[2])?];
        let want = all_products(geometry, &x, &weight, &delta)?;
        let sizes = all_products(geometry, &x.abs()?, &weight.abs()?, &delta.abs()?)?;
        let mut results = Vec::new();
        for precision in MatmulPrecision::ALL {
            set_matmul_precision(precision);
            assert_eq!(matmul_precision(), precision);
            let most = match precision {
                MatmulPrecision::Highest => 0.5f64.powi(20),
                MatmulPrecision::High => 0.5f64.powi(15),
                MatmulPrecision::Medium => 0.5f64.powi(7),
            };
            let found = all_products(geometry, &all[0], &all[1], &all[2])?;
            for (at, found) in found.iter().enumerate() {
                let most_of = |of: &Tensor| of.abs()?.max_all()?.to_scalar::<f64>();
                let share = most_of(&(in_f64(found)? - &want[at])?)? / most_of(&sizes[at])?;
                assert!(
                    share < most,
                    "{geometry:?}, {precision:?}, product {at}: {share} over {most}"
                );
            }
            let values = |of: &Tensor| of.flatten_all()?.to_vec1::<f32>();
            let [response, of_x, of_weight] = &found;
            results.push([values(response)?, values(of_x)?, values(of_weight)?]);
        }
        let in_bf16 = match geometry {
            Geometry::Dense => 3,
            _ if geometry == strided => 1,
            _ => 0,
        };
        let products = results[0].iter().zip(&results[2]).enumerate();
        for (at, (highest, medium)) in products.take(in_bf16) {
            let by_bf16 = highest != medium;
            assert!(by_bf16 || !multiplies_bf16(), "{geometry:?}, product {at} in f32");
        }
    }
    Ok(())
}
