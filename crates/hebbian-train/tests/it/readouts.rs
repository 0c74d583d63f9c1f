//! The closed-form read-outs by hand-worked numbers and by their definitions.

use std::time::Instant;

use candle::{DType, Device, Tensor};
use candle_hebbian::Rng;
use hebbian_train::{
    ConfusionMatrix, Error, LinearReadout, LinearSvm, LinearSvmConfig, NearestClassMean,
    NearestNeighbours, Readout, ReadoutResult, Results, Ridge, Standardisation, check_labels,
    one_hot, one_hot_of,
};

const CPU: &Device = &Device::Cpu;

fn close(found: &Tensor, expected: &[f64], tolerance: f64) {
    let found = found.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < tolerance, "{found} {expected}");
    }
}

/// Of no rows there is no mean: an error, and not NaN.
#[test]
fn standardisation_needs_rows() {
    let rows = Tensor::zeros((0, 3), DType::F32, CPU).unwrap();
    let error = Standardisation::of(&rows).unwrap_err().to_string();
    assert!(error.contains("no rows"), "{error}");
}

/// The means are 2 and 1, the deviations 0 and ½; a constant feature becomes 0, also where 10⁻¹⁰ would be 0.
#[test]
fn constant_features_in_half_precision_become_0() {
    let rows = Tensor::new(&[[2f32, 0.5], [2., 1.5]], CPU).unwrap();
    for dtype in [DType::F16, DType::BF16, DType::F32] {
        let rows = rows.to_dtype(dtype).unwrap();
        let scaled = Standardisation::of(&rows).unwrap().apply(&rows).unwrap();
        assert_eq!(scaled.to_vec2::<f32>().unwrap(), [[0., -1.], [0., 1.]], "{dtype:?}");
    }
}

/// The error says which rows, and that it is not the penalty which is to blame. There are more rows than are looked at
/// together, and than features, or fewer.
#[test]
fn features_that_are_not_finite_are_refused() {
    for (rows, width, at, of) in [(5000, 2, 4097, "4096 to 4999"), (4, 6, 1, "0 to 3")] {
        let labels: Vec<u32> = (0..rows).map(|row| row as u32 % 2).collect();
        let mut values: Vec<f32> = (0..rows * width).map(|value| (value % 7) as f32).collect();
        values[at * width] = f32::NAN;
        let x = Tensor::from_vec(values, (rows, width), CPU).unwrap();
        let finite = Tensor::ones((rows, width), DType::F32, CPU).unwrap();
        let scale = Standardisation::of(&x).unwrap();
        let nearest = NearestNeighbours::fit(&finite, &labels, 2, 1).unwrap();
        for error in [
            Ridge::fit(&x, &labels, 2, 1.0).unwrap_err(),
            Ridge::fit_best(&x, &scale, &labels, 2, &[1.0, 2.0]).unwrap_err(),
            NearestNeighbours::fit(&x, &labels, 2, 1).unwrap_err(),
            NearestClassMean::fit(&x, &labels, 2).unwrap_err(),
            nearest.predict(&x).unwrap_err(),
        ] {
            assert!(matches!(error, Error::NotFinite { .. }), "{error}");
            let says =
                format!("features (rows {of}) is not finite at step 0: 1 NaN and 0 infinite");
            assert!(error.to_string().starts_with(&says), "{error}");
        }
    }
}

/// No read-out finds a class for features that are NaN, or so large that its sums overflow: 0 times NaN is NaN, and
/// twice 3e38 is beyond f32.
#[test]
fn scores_that_are_not_finite_have_no_class() {
    let labels = [0, 1];
    let x = Tensor::new(&[[1f32], [-1.]], CPU).unwrap();
    let head = Tensor::new(&[[1f32], [-1.]], CPU).unwrap();
    let head = LinearReadout::new(&head, &Tensor::zeros(2, DType::F32, CPU).unwrap()).unwrap();
    let readouts: [(&str, Box<dyn Readout>); 4] = [
        ("stored", Box::new(head)),
        ("ridge", Box::new(Ridge::fit(&x, &labels, 2, 1.0).unwrap())),
        ("nearest class mean", Box::new(NearestClassMean::fit(&x, &labels, 2).unwrap())),
        ("svm", Box::new(two_machines(&x).unwrap())),
    ];
    let bad = Tensor::new(&[[1f32], [f32::NAN]], CPU).unwrap();
    for (name, readout) in readouts {
        assert_eq!(readout.accuracy(&x, &labels).unwrap(), 1.0, "{name}");
        let error = readout.accuracy(&bad, &labels).unwrap_err().to_string();
        assert!(error.starts_with("the scores of the read-out is not finite"), "{name}: {error}");
    }
    let large = (&x * 3e38).unwrap();
    let error = two_machines(&large).unwrap_err();
    assert!(matches!(error, Error::NotFinite { step: 0, .. }), "{error}");
    let nearest = NearestNeighbours::fit(&x, &labels, 2, 1).unwrap();
    for error in [
        nearest.predict(&large).unwrap_err(),
        NearestNeighbours::fit(&large, &labels, 2, 1).unwrap_err(),
    ] {
        assert!(error.to_string().starts_with("the squared lengths"), "{error}");
    }
}

/// The machines of two samples of two classes.
fn two_machines(x: &Tensor) -> hebbian_train::Result<LinearSvm> {
    LinearSvm::fit(x, &[0, 1], 2, &LinearSvmConfig::default(), |_, _| {})
}

#[test]
fn ridge_by_hand() {
    // Already centred; XᵀX + I = [[11, 6], [6, 5]] with determinant 19, and Xᵀy = (1, 0) for the
    // centred targets y = (½, -½, -½, ½): W = (5, -6)/19 and its negative, b = ½.
    let x = Tensor::new(&[[2f32, 1.], [-2., -1.], [1., 1.], [-1., -1.]], CPU).unwrap();
    let ridge = Ridge::fit(&x, &[0, 1, 1, 0], 2, 1.0).unwrap();
    close(ridge.weight(), &[5. / 19., -5. / 19., -6. / 19., 6. / 19.], 1e-12);
    close(ridge.bias(), &[0.5, 0.5], 1e-12);
    // 2·5 - 6 = 4 > 0 for the first, -1 for the third.
    assert_eq!(ridge.predict(&x).unwrap().to_vec1::<u32>().unwrap(), [0, 1, 1, 0]);

    // Mean 1: x - 1 = ∓1, so W = ∓1/(2 + 2) and b = ½ ± ¼.
    let x = Tensor::new(&[[0f64], [2.]], CPU).unwrap();
    let ridge = Ridge::fit(&x, &[0, 1], 2, 2.0).unwrap();
    close(ridge.weight(), &[-0.25, 0.25], 1e-12);
    close(ridge.bias(), &[0.75, 0.25], 1e-12);
}

/// Each of seven classes is a feature of its own, and the first class has twice as many rows as the others. With a huge
/// penalty, only the numbers of rows count, and all rows are given to the first class. Rows of all classes are held
/// out, whether they are sorted, where the last eighth is the whole last class, or not.
#[test]
fn the_penalty_is_chosen_on_rows_of_all_classes() {
    let sorted: Vec<u32> = (0..64u32).map(|row| (row / 8).saturating_sub(1)).collect();
    let mixed = Rng::new(1).permutation(64).into_iter().map(|row| sorted[row]).collect();
    for labels in [sorted, mixed] {
        let x: Vec<f32> = (labels.iter())
            .flat_map(|&label| (0..7).map(move |class| f32::from(u8::from(class == label))))
            .collect();
        let x = Tensor::from_vec(x, (64, 7), CPU).unwrap();
        let scale = Standardisation::of(&x).unwrap();
        let best = |alphas: &[f64]| Ridge::fit_best(&x, &scale, &labels, 7, alphas);
        let (ridge, alpha) = best(&[1e9, 1e-3, 1e-4]).unwrap();
        let x = scale.apply(&x).unwrap();
        assert_eq!((alpha, ridge.accuracy(&x, &labels).unwrap()), (1e-3, 1.0));
        // A single penalty is not compared with any.
        assert_eq!(best(&[1e9]).unwrap().1, 1e9);
        let refused = |alphas: &[f64]| best(alphas).unwrap_err().to_string();
        assert!(refused(&[]).contains("no alpha to choose from"), "{}", refused(&[]));
        let error = refused(&[1e-3, -1.0]);
        assert!(error.contains("alpha is -1, expected a number ≥ 0"), "{error}");
    }
}

/// The fit to standardised features is that to features which were standardised before, with more rows than features
/// in all parts, in all rows only, and with fewer; for labels that are mixed and for sorted ones; for features that are
/// a part of a larger tensor, in a type narrower than f64, and constant.
#[test]
fn the_best_fit_is_the_fit_of_standardised_features() {
    for (rows, width) in [(60, 8), (60, 55), (60, 90), (9000, 3)] {
        let mut rng = Rng::new(rows as u64 + width as u64);
        let all = rng.normal(5.0, 3.0, (rows, width + 2), DType::F32, CPU).unwrap();
        let constant = all.narrow(1, 0, 1).unwrap().ones_like().unwrap();
        let x = Tensor::cat(&[&all, &constant], 1).unwrap().narrow(1, 2, width + 1).unwrap();
        let scale = Standardisation::of(&x).unwrap();
        let scaled = scale.apply(&x.contiguous().unwrap()).unwrap();
        let mixed: Vec<u32> = (0..rows).map(|_| rng.below(3) as u32).collect();
        let sorted = (0..rows).map(|row| (3 * row / rows) as u32).collect();
        for labels in [mixed, sorted] {
            let (best, alpha) = Ridge::fit_best(&x, &scale, &labels, 3, &[0.5, 20.0]).unwrap();
            assert!([0.5, 20.0].contains(&alpha));
            let want = Ridge::fit(&scaled, &labels, 3, alpha).unwrap();
            close(best.weight(), &want.weight().flatten_all().unwrap().to_vec1().unwrap(), 1e-9);
            close(best.bias(), &want.bias().to_vec1().unwrap(), 1e-9);
        }
    }
}

/// (XcᵀXc + αI)·W = XcᵀYc and b = ȳ − x̄W, with more samples than features and with fewer.
#[test]
fn ridge_solves_the_normal_equations() {
    for (n, f, classes, alpha) in [(300, 40, 10, 1.0), (30, 200, 4, 0.5), (9000, 3, 2, 0.0)] {
        let mut rng = Rng::new(n as u64);
        let x = rng.normal(3.0, 2.0, (n, f), DType::F32, CPU).unwrap();
        let labels: Vec<u32> = (0..n).map(|_| rng.below(classes) as u32).collect();
        let ridge = Ridge::fit(&x, &labels, classes, alpha).unwrap();

        let x = x.to_dtype(DType::F64).unwrap();
        let y: Vec<f64> = labels
            .iter()
            .flat_map(|&l| (0..classes).map(move |c| f64::from(u8::from(c == l as usize))))
            .collect();
        let y = Tensor::from_vec(y, (n, classes), CPU).unwrap();
        let (x_mean, y_mean) = (x.mean_keepdim(0).unwrap(), y.mean_keepdim(0).unwrap());
        let (x, y) = (x.broadcast_sub(&x_mean).unwrap(), y.broadcast_sub(&y_mean).unwrap());
        let right = x.t().unwrap().matmul(&y).unwrap();
        let left = x.t().unwrap().matmul(&x.matmul(ridge.weight()).unwrap()).unwrap();
        let left = (left + (ridge.weight() * alpha).unwrap()).unwrap();
        let right: Vec<f64> = right.flatten_all().unwrap().to_vec1().unwrap();
        close(&left, &right, 1e-8);
        let bias = (y_mean - x_mean.matmul(ridge.weight()).unwrap()).unwrap();
        close(ridge.bias(), &bias.flatten_all().unwrap().to_vec1::<f64>().unwrap(), 1e-12);
    }
}

#[test]
fn ridge_says_what_it_cannot_do() {
    // Broadcast views: nothing of this size is allocated.
    let wide =
        Tensor::zeros((1, 1), DType::F32, CPU).unwrap().broadcast_as((16385, 16385)).unwrap();
    let error = Ridge::fit(&wide, &[0; 16385], 2, 1.0).unwrap_err().to_string();
    assert!(error.contains("16385 features") && error.contains("pool the features"), "{error}");

    let constant = Tensor::ones((4, 2), DType::F32, CPU).unwrap();
    let error = Ridge::fit(&constant, &[0, 1, 0, 1], 2, 0.0).unwrap_err().to_string();
    assert!(error.contains("raise the penalty alpha"), "{error}");
    let refused = |labels: &[u32], alpha: f64| {
        Ridge::fit(&constant, labels, 2, alpha).unwrap_err().to_string()
    };
    for alpha in [-1.0, f64::NAN, f64::INFINITY] {
        let error = refused(&[0, 1, 0, 1], alpha);
        assert!(error.contains(&format!("alpha is {alpha}, expected")), "{error}");
    }
    let error = refused(&[0, 1, 0, 2], 1.0);
    assert!(error.contains("label 2 is not below the number of classes, 2"), "{error}");
}

/// What all features have in common changes no distance. Squares of 100,000 would swallow differences of 1 in f32.
#[test]
fn nearest_class_means_far_from_the_origin() {
    let x = Tensor::new(&[[0f32, 1.], [1., 0.], [3., 0.], [4., 1.]], CPU).unwrap();
    let far = (&x + 1e5).unwrap();
    for rows in [&x, &far] {
        let nearest = NearestClassMean::fit(rows, &[0, 0, 1, 1], 2).unwrap();
        assert_eq!(nearest.predict(rows).unwrap().to_vec1::<u32>().unwrap(), [0, 0, 1, 1]);
    }
}

#[test]
fn nearest_class_mean_by_hand() {
    // Means (1, 0) and (0, 4); class 2 has no sample. The bisector goes through (½, 2).
    let x = Tensor::new(&[[0f32, 0.], [2., 0.], [0., 4.]], CPU).unwrap();
    let nearest = NearestClassMean::fit(&x, &[0, 0, 1], 3).unwrap();
    assert_eq!(nearest.means().to_vec2::<f32>().unwrap(), [[1., 0.], [0., 4.], [0., 0.]]);
    // (0, 2): squared distances 5 and 4. (1, 2): 4 and 5. The origin: 1 and 16.
    let probes = Tensor::new(&[[0f32, 2.], [1., 2.], [0., 0.]], CPU).unwrap();
    assert_eq!(nearest.predict(&probes).unwrap().to_vec1::<u32>().unwrap(), [1, 0, 0]);
    assert_eq!(nearest.accuracy(&probes, &[1, 1, 0]).unwrap(), 2.0 / 3.0);
}

/// The sum of the features, 100,800, is more than f16 holds, and in bf16 it would be rounded to a multiple of 512.
#[test]
fn nearest_neighbours_in_half_precision_are_computed_in_f32() {
    let x: Vec<f32> = (0..100).map(|row| if row < 50 { 1000. } else { 1016. }).collect();
    let labels: Vec<u32> = (0..100).map(|row| u32::from(row >= 50)).collect();
    let x = Tensor::from_vec(x, (100, 1), CPU).unwrap();
    let probes = Tensor::new(&[[1004f32], [1012.], [990.], [1030.]], CPU).unwrap();
    for dtype in [DType::F16, DType::BF16, DType::F32] {
        let [x, probes] = [&x, &probes].map(|rows| rows.to_dtype(dtype).unwrap());
        let nearest = NearestNeighbours::fit(&x, &labels, 2, 3).unwrap();
        let classes = nearest.predict(&probes).unwrap().to_vec1::<u32>().unwrap();
        assert_eq!(classes, [0, 1, 0, 1], "{dtype:?}");
    }
}

#[test]
fn nearest_neighbours_by_hand() {
    let x = Tensor::new(&[[0f32], [1.], [3.], [4.]], CPU).unwrap();
    let probes = Tensor::new(&[[0.4f32], [0.5], [0.6], [9.]], CPU).unwrap();
    for (k, expected) in [
        // 0.5 is as near to 0 as to 1: the first sample decides.
        (1, [1, 1, 0, 2]),
        // There are always two classes with one vote each: the nearest sample decides.
        (2, [1, 1, 0, 2]),
        // 0, 1 and 3 for the first three, 4, 3 and 1 for the last: two samples of class 0.
        (3, [0, 0, 0, 0]),
        (4, [0, 0, 0, 0]),
    ] {
        let nearest = NearestNeighbours::fit(&x, &[1, 0, 0, 2], 3, k).unwrap();
        assert_eq!(nearest.predict(&probes).unwrap().to_vec1::<u32>().unwrap(), expected, "{k}");
    }
    // There are two votes for each class: the nearest sample decides.
    let nearest = NearestNeighbours::fit(&x, &[1, 0, 0, 1], 2, 4).unwrap();
    assert_eq!(nearest.predict(&probes).unwrap().to_vec1::<u32>().unwrap(), [1, 1, 0, 1]);

    for k in [0, 5] {
        let error = NearestNeighbours::fit(&x, &[1, 0, 0, 1], 2, k).unwrap_err().to_string();
        assert!(error.contains(&format!("k is {k}")) && error.contains("1 to 4"), "{error}");
    }
    let error = NearestNeighbours::fit(&x, &[1, 0, 0, 2], 2, 1).unwrap_err().to_string();
    assert!(error.contains("label 2 is not below the number of classes, 2"), "{error}");
}

/// Compared with distances summed in f64, one by one: more of them than are held at a time, and far
/// from the origin.
#[test]
fn nearest_neighbours_by_definition() {
    let (n, probes, classes, k) = (5000, 4000, 3, 7);
    let mut rng = Rng::new(1);
    let mut draw = |rows| rng.normal(300.0, 1.0, (rows, 4), DType::F32, CPU).unwrap();
    let (x, test) = (draw(n), draw(probes));
    let labels: Vec<u32> = (0..n).map(|_| rng.below(classes) as u32).collect();
    let nearest = NearestNeighbours::fit(&x, &labels, classes, k).unwrap();
    let predicted = nearest.predict(&test).unwrap().to_vec1::<u32>().unwrap();

    let (x, test) = (x.to_vec2::<f32>().unwrap(), test.to_vec2::<f32>().unwrap());
    let (mut compared, mut wrong) = (0, 0);
    for (probe, &predicted) in test.iter().zip(&predicted) {
        let distance = |row: &Vec<f32>| -> f64 {
            row.iter().zip(probe).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
        };
        let mut near: Vec<_> = x.iter().map(distance).zip(&labels).collect();
        near.sort_by(|a, b| a.0.total_cmp(&b.0));
        // Rounding may decide between these.
        if near[..=k].windows(2).any(|pair| pair[1].0 - pair[0].0 < 1e-4) {
            continue;
        }
        compared += 1;
        let votes = |class| near[..k].iter().filter(|near| *near.1 == class).count();
        let most = (0..classes as u32).map(votes).max().unwrap();
        let expected = near.iter().find(|near| votes(*near.1) == most).unwrap();
        wrong += usize::from(predicted != *expected.1);
    }
    assert!(compared > 3000 && wrong == 0, "{wrong} of {compared}");
}

fn svm(x: &Tensor, labels: &[u32], classes: usize, c: f64, tolerance: f64) -> LinearSvm {
    let config = LinearSvmConfig { c, tolerance, ..Default::default() };
    let svm = LinearSvm::fit(x, labels, classes, &config, |_, _| {}).unwrap();
    assert!(svm.converged());
    svm
}

#[test]
fn linear_svm_by_hand() {
    for (c, w) in [(1.0, 0.8), (0.25, 0.5)] {
        // x = ∓1: by symmetry no intercept, so ½w² + 2C(1 − w)² is least for w = 4C/(1 + 4C).
        let x = Tensor::new(&[[-1f64], [1.]], CPU).unwrap();
        let fitted = svm(&x, &[0, 1], 2, c, 1e-10);
        close(fitted.weight(), &[-w, w], 1e-9);
        close(fitted.bias(), &[0.0, 0.0], 1e-9);
        assert_eq!(fitted.predict(&x).unwrap().to_vec1::<u32>().unwrap(), [0, 1]);
    }
    // One sample, x̃ = (2, 1): w = s·x̃ with ½·5s² + (1 − 5s)² least for s = 2/11, in class 0; the
    // other classes have it on the other side. A free intercept would leave no weight at all.
    let x = Tensor::new(&[[2f64]], CPU).unwrap();
    let fitted = svm(&x, &[0], 3, 1.0, 1e-10);
    close(fitted.weight(), &[4. / 11., -4. / 11., -4. / 11.], 1e-9);
    close(fitted.bias(), &[2. / 11., -2. / 11., -2. / 11.], 1e-9);
}

/// ∇f = w + 2C Σ (y·(w·x̃) − 1)·y·x̃ over the samples with y·(w·x̃) < 1, one by one.
fn svm_gradient(w: &[f64], x: &[Vec<f64>], labels: &[u32], class: u32, c: f64) -> Vec<f64> {
    let mut gradient = w.to_vec();
    for (x, &label) in x.iter().zip(labels) {
        let y = if label == class { 1.0 } else { -1.0 };
        let x: Vec<f64> = x.iter().copied().chain([1.0]).collect();
        let margin = y * x.iter().zip(w).map(|(x, w)| x * w).sum::<f64>();
        if margin < 1.0 {
            gradient.iter_mut().zip(&x).for_each(|(g, x)| *g += 2.0 * c * (margin - 1.0) * y * x);
        }
    }
    gradient
}

/// Normal features about random centres, whose standard deviation is `apart`.
fn blobs(n: usize, width: usize, classes: usize, apart: f64, dtype: DType) -> (Tensor, Vec<u32>) {
    let mut rng = Rng::new(n as u64);
    let labels: Vec<u32> = (0..n).map(|_| rng.below(classes) as u32).collect();
    let centres = rng.normal(1.0, apart, (classes, width), dtype, CPU).unwrap();
    let index = Tensor::new(&labels[..], CPU).unwrap();
    let noise = rng.normal(0.0, 1.0, (n, width), dtype, CPU).unwrap();
    ((centres.index_select(&index, 0).unwrap() + noise).unwrap(), labels)
}

fn weights(svm: &LinearSvm, class: usize) -> Vec<f64> {
    let mut weight = svm.weight().t().unwrap().to_vec2::<f64>().unwrap().swap_remove(class);
    weight.push(svm.bias().to_vec1::<f64>().unwrap()[class]);
    weight
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>().sqrt()
}

#[test]
fn linear_svm_is_where_the_gradient_is_0() {
    for (n, width, dtype, tolerance) in
        [(5000, 6, DType::F32, 1e-4), (90, 5, DType::F64, 1e-9), (20, 50, DType::F64, 1e-9)]
    {
        let (x, labels) = blobs(n, width, 3, 1.0, dtype);
        let fitted = svm(&x, &labels, 3, 0.7, tolerance);
        let x = x.to_dtype(DType::F64).unwrap().to_vec2::<f64>().unwrap();
        for class in 0..3u32 {
            let own = labels.iter().filter(|&&label| label == class).count();
            let share = own.min(n - own) as f64 / n as f64;
            let start = norm(&svm_gradient(&vec![0.0; width + 1], &x, &labels, class, 0.7));
            let end =
                norm(&svm_gradient(&weights(&fitted, class as usize), &x, &labels, class, 0.7));
            assert!(end < 1.1 * tolerance * share * start, "{n} {class}: {end} of {start}");
        }
    }
}

#[test]
fn linear_svm_is_where_gradient_descent_ends() {
    for (apart, separable) in [(4.0, true), (0.5, false)] {
        let (x, labels) = blobs(60, 3, 2, apart, DType::F64);
        let fitted = svm(&x, &labels, 2, 1.0, 1e-10);
        assert_eq!(fitted.accuracy(&x, &labels).unwrap() == 1.0, separable);
        let rows = x.to_vec2::<f64>().unwrap();
        // The curvature is at most 1 + 2C Σ ‖x̃‖².
        let squares: f64 = rows.iter().flatten().map(|x| x * x).sum();
        let rate = 1.0 / (1.0 + 2.0 * (squares + 60.0));
        let mut w = vec![0.0; 4];
        // f has a curvature of at least 1, so this shrinks the error by e⁻²⁰ at least.
        for _ in 0..(20.0 / rate) as usize {
            let gradient = svm_gradient(&w, &rows, &labels, 1, 1.0);
            w.iter_mut().zip(gradient).for_each(|(w, g)| *w -= rate * g);
        }
        for (found, expected) in weights(&fitted, 1).iter().zip(&w) {
            assert!((found - expected).abs() < 1e-7, "{found} {expected}");
        }
    }
}

#[test]
fn linear_svm_says_how_it_went() {
    let (x, labels) = blobs(300, 5, 3, 1.0, DType::F32);
    let mut seen = Vec::new();
    let config = LinearSvmConfig::default();
    let fitted =
        LinearSvm::fit(&x, &labels, 3, &config, |step, left| seen.push((step, left))).unwrap();
    assert!(fitted.converged() && seen.len() > 1, "{seen:?}");
    assert!(
        seen.iter().enumerate().all(|(at, &(step, left))| {
            step == at + 1 && (left <= 1.0) == (at + 1 == seen.len())
        })
    );
    let config = LinearSvmConfig { max_iterations: 1, ..Default::default() };
    assert!(!LinearSvm::fit(&x, &labels, 3, &config, |_, _| {}).unwrap().converged());

    let fit =
        |x: &Tensor, config: LinearSvmConfig| LinearSvm::fit(x, &labels, 3, &config, |_, _| {});
    let error = fit(&x, LinearSvmConfig { c: 0.0, ..Default::default() }).unwrap_err().to_string();
    assert!(error.contains("c is 0"), "{error}");
    let config = LinearSvmConfig { tolerance: f64::NAN, ..Default::default() };
    let error = fit(&x, config).unwrap_err().to_string();
    assert!(error.contains("tolerance is NaN, expected a number > 0"), "{error}");
    let error = fit(&(&x / 0.0).unwrap(), LinearSvmConfig::default()).unwrap_err().to_string();
    assert!(error.contains("features (rows 0 to 299) is not finite"), "{error}");
    let config = LinearSvmConfig::default();
    let error = LinearSvm::fit(&x, &labels, 2, &config, |_, _| {}).unwrap_err().to_string();
    assert!(error.contains("label 2 is not below the number of classes, 2"), "{error}");
}

#[test]
fn confusion_by_hand() {
    let matrix = ConfusionMatrix::new(&[0, 1, 1, 2], &[0, 2, 1, 0], 4).unwrap();
    assert_eq!(matrix.counts, [[1, 0, 0, 0], [0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]]);
    assert_eq!(matrix.accuracy(), 0.5);
    assert_eq!(matrix.recall()[..3], [1.0, 0.5, 0.0]);
    assert!(matrix.recall()[3].is_nan());
    let text = serde_json::to_string(&matrix).unwrap();
    assert_eq!(serde_json::from_str::<ConfusionMatrix>(&text).unwrap(), matrix);
    for (labels, predicted, says) in [
        (&[0, 1][..], &[0][..], "2 labels and 1 predictions"),
        (&[0, 1], &[0, 2], "label 1 or prediction 2 is not below"),
        (&[0, 2], &[0, 1], "label 2 or prediction 1 is not below"),
    ] {
        let error = ConfusionMatrix::new(labels, predicted, 2).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

/// A read-out that predicts 0, 1, 0 and 1, by the sign of the only feature.
#[test]
fn a_read_out_is_judged_by_its_confusion() {
    let weight = Tensor::new(&[[-1f32], [1.]], CPU).unwrap();
    let bias = Tensor::zeros(2, DType::F32, CPU).unwrap();
    let readout = LinearReadout::new(&weight, &bias).unwrap();
    let x = Tensor::new(&[[-2f32], [3.], [-1.], [4.]], CPU).unwrap();
    let judge = |labels: &[u32], classes: usize| {
        ReadoutResult::judge("head", Instant::now(), &readout, &x, labels, classes)
    };
    let found = judge(&[0, 1, 1, 1], 2).unwrap();
    assert_eq!((found.name.as_str(), found.test_accuracy, found.features), ("head", 0.75, 1));
    assert_eq!(found.confusion.unwrap().counts, [[1, 0], [1, 2]]);
    assert!(found.seconds >= 0.0);
    let error = judge(&[0, 1, 1], 2).unwrap_err().to_string();
    assert!(error.contains("3 labels and 4 predictions"), "{error}");
    let error = judge(&[0, 1, 1, 1], 1).unwrap_err().to_string();
    assert!(error.contains("is not below the number of classes, 1"), "{error}");
}

/// Read-outs of one name are several networks with random weights; names stay in the order in which they come.
#[test]
fn accuracies_of_one_name_belong_together() {
    let one = |(name, test_accuracy): (&str, f64)| ReadoutResult {
        name: name.to_string(),
        test_accuracy,
        ..Default::default()
    };
    let readouts = [("ridge", 0.5), ("head", 0.75), ("ridge", 0.25), ("knn", 1.0), ("ridge", 0.0)];
    let results = Results { readouts: readouts.map(one).into(), ..Default::default() };
    let want = [("ridge", vec![0.5, 0.25, 0.0]), ("head", vec![0.75]), ("knn", vec![1.0])];
    assert_eq!(results.readout_accuracies(), want);
    assert!(Results::default().readout_accuracies().is_empty());
}

/// One label a row, each below the number of classes; neither rows nor features may be missing.
#[test]
fn labels_fit_features_one_by_one() {
    let zeros = |rows: usize, width: usize| Tensor::zeros((rows, width), DType::F32, CPU).unwrap();
    assert_eq!(check_labels(&zeros(3, 2), &[0, 4, 1], 5).unwrap(), (3, 2));
    for (rows, width, labels, says) in [
        (3, 2, &[0, 4, 5][..], "label 5 is not below the number of classes, 5"),
        (3, 2, &[0, 4], "2 labels do not fit features of shape [3, 2]"),
        (0, 2, &[], "0 labels do not fit features of shape [0, 2]"),
        (2, 0, &[1, 1], "2 labels do not fit features of shape [2, 0]"),
    ] {
        let error = check_labels(&zeros(rows, width), labels, 5).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

/// Labels in a tensor are not checked: one that is no class has no 1.
#[test]
fn one_hot_rows_by_hand() {
    let want = [[0f32, 0., 1.], [1., 0., 0.]];
    let found = one_hot(&[2, 0], 3, DType::F32, CPU).unwrap();
    assert_eq!(found.to_vec2::<f32>().unwrap(), want);
    let error = one_hot(&[2, 3], 3, DType::F32, CPU).unwrap_err().to_string();
    assert!(error.contains("label 3 is not below the number of classes, 3"), "{error}");
    let labels = Tensor::new(&[2u32, 0, 3, u32::MAX], CPU).unwrap();
    let found = one_hot_of(&labels, 3, DType::F32).unwrap().to_vec2::<f32>().unwrap();
    assert_eq!(found, [want[0], want[1], [0.; 3], [0.; 3]]);
}

#[test]
fn a_confusion_in_a_file_is_square_and_can_be_counted() {
    let read = |text: &str| serde_json::from_str::<ConfusionMatrix>(text);
    assert_eq!(read(r#"{"counts": [[1, 2], [0, 1]]}"#).unwrap().recall(), [1.0 / 3.0, 1.0]);
    for (text, problem) in [
        (r#"{"counts": [[1, 2], [0]]}"#, "1 counts in a row of a confusion of 2 classes"),
        (r#"{"counts": [[]]}"#, "0 counts in a row of a confusion of 1 classes"),
        (r#"{"counts": [[18446744073709551615, 1], [0, 0]]}"#, "more images than can be counted"),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(problem), "{text}: {error}");
    }
}
