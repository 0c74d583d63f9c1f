//! Ops over windows of empty tensors, NaN and infinity, by the kernels and by the compositions that
//! other devices run. Types and views are tested in `table`.

use candle::{DType, Device, Error, Module, Result, Tensor, Var};
use candle_hebbian::ops::{
    Edge, Ties, avg_pool2d, channels_last, composed, max_pool2d, max_pool2d_same, pad_reflect,
};
use candle_hebbian::{Conv2dConfig, Geometry, Layer, PaddingMode};

type Op = fn(&Tensor) -> Result<Tensor>;

/// Unfolds `x` with a layer of ones.
fn windows(x: &Tensor, untied: bool) -> Result<Tensor> {
    let (config, c) = (Conv2dConfig { stride: 2, padding: 1, ..Default::default() }, x.dim(1)?);
    let (shape, geometry): (&[usize], _) = if untied {
        (&[2, 3, 1, c, 3, 2], Geometry::LocallyConnected2d(config))
    } else {
        (&[1, c, 3, 2], Geometry::Conv2d(config))
    };
    Layer::new(Tensor::ones(shape, x.dtype(), x.device())?, geometry)?.unfold(x)
}

/// Every op that is differentiable in images `(B, 4, 3, 4)`.
const OPS: [(&str, Op); 9] = [
    ("max_pool2d", |x| max_pool2d(x, 2, 1, 1, Ties::First)),
    ("max_pool2d, all", |x| max_pool2d(x, 3, 2, 1, Ties::All)),
    ("same, zeros", |x| max_pool2d_same(x, 3, 2, Edge::Zeros, Ties::All)),
    ("same, excluded", |x| max_pool2d_same(x, 3, 2, Edge::Excluded, Ties::First)),
    ("avg_pool2d", |x| avg_pool2d(x, 3, 1, 1)),
    ("channels last, max", |x| {
        channels_last::max_pool2d_same(x, 2, 1, Edge::Excluded, Ties::First)
    }),
    ("channels last, avg", |x| channels_last::avg_pool2d(x, 2, 1, 1)),
    ("pad_reflect", |x| pad_reflect(x, 2)),
    ("pad_reflect, none", |x| pad_reflect(x, 0)),
];

fn both_ways(check: impl Fn() -> Result<()>) -> Result<()> {
    check()?;
    composed(check)
}

fn gradient(out: &Tensor, upstream: &Tensor, of: &Tensor) -> Result<Tensor> {
    let grads = (out * upstream)?.sum_all()?.backward()?;
    grads.get(of).cloned().ok_or_else(|| Error::msg("no gradient"))
}

fn values(x: &Tensor) -> Result<Vec<f64>> {
    x.contiguous()?.flatten_all()?.to_dtype(DType::F64)?.to_vec1()
}

#[track_caller]
fn same(name: &str, got: &Tensor, want: &Tensor) -> Result<()> {
    assert_eq!((got.dims(), got.dtype()), (want.dims(), want.dtype()), "{name}");
    assert_eq!(values(got)?, values(want)?, "{name}");
    Ok(())
}

/// Without images or channels, the result and its gradient are empty.
#[test]
fn empty_batches() -> Result<()> {
    both_ways(|| {
        for dtype in [DType::F32, DType::BF16] {
            for (name, op) in OPS {
                let full = op(&Tensor::zeros((2, 4, 3, 4), dtype, &Device::Cpu)?)?;
                let last = name.starts_with("channels last");
                for (b, c) in [(0, 4), (2, 0), (0, 0)] {
                    let shape = if last { [b, 4, 3, c] } else { [b, c, 3, 4] };
                    let x = Var::from_tensor(&Tensor::zeros(&shape, dtype, &Device::Cpu)?)?;
                    let out = op(&x)?;
                    let [_, c1, h, w] = full.dims() else { panic!("{name}") };
                    let want = if last { [b, *c1, *h, c] } else { [b, c, *h, *w] };
                    assert_eq!(out.dims(), want, "{name}");
                    assert_eq!(gradient(&out, &out.zeros_like()?, &x)?.dims(), shape, "{name}");
                }
            }
            let x = Tensor::zeros((0, 4, 3, 4), dtype, &Device::Cpu)?;
            assert_eq!(windows(&x, false)?.dims(), [1, 0, 24]);
            assert_eq!(windows(&x, true)?.dims(), [6, 0, 24]);
            let x = Tensor::zeros((2, 0, 3, 4), dtype, &Device::Cpu)?;
            assert_eq!(windows(&x, false)?.dims(), [1, 12, 0]);
        }
        Ok(())
    })
}

/// A convolution without images, channels or units, or of an empty part that starts past the end.
#[test]
fn empty_convolutions() -> Result<()> {
    for dtype in [DType::F32, DType::BF16] {
        for padding_mode in [PaddingMode::Zeros, PaddingMode::Reflect] {
            for (b, c, k) in [(0, 2, 3), (2, 0, 3), (2, 2, 0), (0, 0, 0)] {
                let x = Var::from_tensor(&Tensor::ones((b, c, 3, 4), dtype, &Device::Cpu)?)?;
                let weight = Tensor::ones((k, c, 2, 2), dtype, &Device::Cpu)?;
                let config = Conv2dConfig { padding: 1, padding_mode, ..Default::default() };
                let layer = Layer::from_tensor(&weight, Geometry::Conv2d(config))?;
                let out = layer.forward(&x)?;
                same("out", &out, &Tensor::zeros((b, k, 4, 5), dtype, &Device::Cpu)?)?;
                for of in [&x, layer.weight()] {
                    let grad = gradient(&out, &out.ones_like()?, of)?;
                    same("gradient", &grad, &of.zeros_like()?)?;
                }
            }
        }
    }
    let x = Tensor::ones((2, 3, 3, 4), DType::F32, &Device::Cpu)?;
    let nothing = x.narrow(0, 2, 0)?.narrow(2, 1, 2)?;
    let weight = Tensor::ones((1, 3, 2, 2), DType::F32, &Device::Cpu)?;
    let layer = Layer::new(weight, Geometry::Conv2d(Conv2dConfig::default()))?;
    assert_eq!(layer.forward(&nothing)?.dims(), [0, 1, 1, 3]);
    assert_eq!(layer.unfold(&nothing)?.dims(), [1, 0, 12]);
    Ok(())
}

/// An image of two lines, `x` and a line of −∞.
fn line(x: &[f64]) -> Result<Var> {
    let below = vec![f64::NEG_INFINITY; x.len()];
    Var::from_tensor(&Tensor::from_vec([x, &below].concat(), (1, 1, 2, x.len()), &Device::Cpu)?)
}

fn bits(x: &Tensor) -> Result<Vec<String>> {
    Ok(values(x)?.into_iter().map(|x| x.to_string()).collect())
}

/// The largest value of a window, where NaN is above all, and the pixels that get its gradient.
#[test]
fn maxima_of_nan_and_infinity() -> Result<()> {
    let (nan, inf, low) = (f64::NAN, f64::INFINITY, f64::NEG_INFINITY);
    both_ways(|| {
        for dtype in [DType::F64, DType::F32, DType::BF16] {
            let x = line(&[nan, nan, nan, inf, inf, -2.0, low, low])?;
            let x = Var::from_tensor(&x.to_dtype(dtype)?)?;
            let upstream = Tensor::new(&[[[[1f64, 10.0, 100.0, 1000.0]]]], &Device::Cpu)?;
            for (ties, above, below) in [
                (Ties::First, [1.0, 0.0, 10.0, 0.0, 100.0, 0.0, 1000.0, 0.0], 0.0),
                (Ties::All, [1.0, 1.0, 10.0, 0.0, 100.0, 0.0, 1000.0, 1000.0], 1000.0),
            ] {
                let out = max_pool2d(&x, 2, 2, 0, ties)?;
                assert_eq!(bits(&out)?, ["NaN", "NaN", "inf", "-inf"], "{dtype:?}");
                let grad = values(&gradient(&out, &upstream.to_dtype(dtype)?, &x)?)?;
                assert_eq!(grad[..8], above, "{ties:?} {dtype:?}");
                assert_eq!(grad[8..14], [0.0; 6], "{ties:?} {dtype:?}");
                assert_eq!(grad[14..], [below; 2], "{ties:?} {dtype:?}");
            }
            // Padding does not compete, even with −∞; zeros beyond the edge do, but not with NaN.
            let low = Var::from_tensor(&line(&[low; 3])?.to_dtype(dtype)?)?;
            assert_eq!(bits(&max_pool2d(&low, 2, 2, 1, Ties::All)?)?, ["-inf"; 4]);
            let over = |edge| max_pool2d_same(&low, 2, 2, edge, Ties::First);
            assert_eq!(bits(&over(Edge::Excluded)?)?, ["-inf"; 2]);
            assert_eq!(bits(&over(Edge::Zeros)?)?, ["-inf", "0"]);
            let x = Var::from_tensor(&line(&[nan, 1.0, nan])?.to_dtype(dtype)?)?;
            let pooled = max_pool2d_same(&x, 2, 2, Edge::Zeros, Ties::First)?;
            assert_eq!(bits(&pooled)?, ["NaN", "NaN"]);
        }
        Ok(())
    })
}

/// A pixel that equals the zeros beyond the edge gets the gradient, wherever in the window it is.
#[test]
fn ties_with_the_edge() -> Result<()> {
    both_ways(|| {
        for ties in [Ties::First, Ties::All] {
            let x = Tensor::new(&[[[[-1f64, -2.0, -3.0], [-4.0, -5.0, 0.0]]]], &Device::Cpu)?;
            let x = Var::from_tensor(&x)?;
            let out = max_pool2d_same(&x, 2, 2, Edge::Zeros, ties)?;
            assert_eq!(values(&out)?, [-1.0, 0.0]);
            let grad = gradient(&out, &Tensor::new(&[[[[1f64, 10.0]]]], &Device::Cpu)?, &x)?;
            assert_eq!(values(&grad)?, [1.0, 0.0, 0.0, 0.0, 0.0, 10.0]);
        }
        Ok(())
    })
}

/// Means, windows and mirrors pass NaN and infinity on, and only to the outputs that contain them.
#[test]
fn others_pass_nan_and_infinity_on() -> Result<()> {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    both_ways(|| {
        let x = Tensor::new(&[[[[1f64, nan, 2.0, inf, -inf, inf]]]], &Device::Cpu)?;
        let pair = x.broadcast_as((1, 1, 2, 6))?;
        let mean = avg_pool2d(&pair, 2, 1, 0)?;
        assert_eq!(bits(&mean)?, ["NaN", "NaN", "inf", "NaN", "NaN"]);
        let mirrored = pad_reflect(&pair, 1)?.narrow(2, 1, 1)?;
        assert_eq!(bits(&mirrored)?, ["NaN", "1", "NaN", "2", "inf", "-inf", "inf", "-inf"]);
        let weight = Tensor::new(&[[[[1f64, 1.0]]]], &Device::Cpu)?;
        let layer = Layer::new(weight, Geometry::Conv2d(Conv2dConfig::default()))?;
        let (rows, out) = (layer.unfold(&x)?, layer.forward(&x)?);
        let pairs = ["1", "NaN", "NaN", "2", "2", "inf", "inf", "-inf", "-inf", "inf"];
        assert_eq!(bits(&rows)?, pairs);
        assert_eq!(bits(&out)?, ["NaN", "NaN", "inf", "NaN", "NaN"]);
        Ok(())
    })
}
