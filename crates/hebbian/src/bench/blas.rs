//! Matrix products of the system's BLAS libraries, which are opened while the program runs.

use super::product::{Form, Product};
use libloading::Library;
use std::ffi::{OsString, c_int};
use std::path::Path;

/// The environment variable that names libraries to use before the usual ones: paths, separated as in `PATH`.
const OWN: &str = "HEBBIAN_BLAS";

/// `cblas_sgemm` with integers of 32 bits.
type Sgemm = unsafe extern "C" fn(
    order: c_int,
    a_turned: c_int,
    b_turned: c_int,
    m: c_int,
    n: c_int,
    k: c_int,
    alpha: f32,
    a: *const f32,
    a_stride: c_int,
    b: *const f32,
    b_stride: c_int,
    beta: f32,
    c: *mut f32,
    c_stride: c_int,
);

const ROW_MAJOR: c_int = 101;
const AS_IT_IS: c_int = 111;
const TURNED: c_int = 112;

/// A library's single-precision product.
#[derive(Debug)]
pub(super) struct Blas {
    name: &'static str,
    sgemm: Sgemm,
    /// Keeps the code that `sgemm` points to loaded.
    _library: Library,
}

impl Blas {
    /// Opens MKL and OpenBLAS, if they are available.
    pub fn all() -> Vec<Self> {
        let own: Vec<OsString> = std::env::var_os(OWN)
            .map(|paths| std::env::split_paths(&paths).map(Into::into).collect())
            .unwrap_or_default();
        let usual = [
            "libmkl_rt.so.3",
            "libmkl_rt.so.2",
            "libmkl_rt.so",
            "libopenblas.so.0",
            "libopenblas.so",
        ];
        let mut found: Vec<Self> = Vec::new();
        for file in own.into_iter().chain(usual.map(OsString::from)) {
            if let Some(blas) = Self::open(&file)
                && found.iter().all(|known| known.name != blas.name)
            {
                found.push(blas);
            }
        }
        found
    }

    fn open(file: &OsString) -> Option<Self> {
        let name = name_of(file);
        // SAFETY: these libraries may be loaded at any time; the code that they run then does not change our state.
        let library = unsafe { Library::new(file) }.ok()?;
        // The second is the function's name in Python packages.
        let sgemm = [&b"cblas_sgemm"[..], b"scipy_cblas_sgemm"].into_iter().find_map(|symbol| {
            // SAFETY: BLAS defines this type for the function of this name, with integers of 32 bits; with other
            // integers it has another name (`cblas_sgemm_64`, `cblas_sgemm64_`).
            unsafe { library.get::<Sgemm>(symbol) }.ok().map(|found| *found)
        })?;
        Some(Self { name, sgemm, _library: library })
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Writes the product into the operand that has its shape.
    pub fn multiply(&self, product: &Product, [x, w, y]: &mut [Vec<f32>; 3]) {
        let Product { sites, rows, fan_in, units, form } = *product;
        assert!(x.len() == sites * rows * fan_in && w.len() == sites * units * fan_in);
        assert!(y.len() == sites * rows * units);
        let int = |size: usize| c_int::try_from(size).expect("a tensor's side has 31 bits");
        for site in 0..sites {
            let x = &mut x[site * rows * fan_in..][..rows * fan_in];
            let w = &mut w[site * units * fan_in..][..units * fan_in];
            let y = &mut y[site * rows * units..][..rows * units];
            let (a, b, c) = match form {
                Form::Response => (x.as_ptr(), w.as_ptr(), y.as_mut_ptr()),
                Form::Update => (y.as_ptr(), x.as_ptr(), w.as_mut_ptr()),
                Form::Back => (y.as_ptr(), w.as_ptr(), x.as_mut_ptr()),
            };
            let (turned, [m, n, k], strides) = match form {
                Form::Response => {
                    ([AS_IT_IS, TURNED], [rows, units, fan_in], [fan_in, fan_in, units])
                }
                Form::Update => {
                    ([TURNED, AS_IT_IS], [units, fan_in, rows], [units, fan_in, fan_in])
                }
                Form::Back => ([AS_IT_IS; 2], [rows, fan_in, units], [units, fan_in, fan_in]),
            };
            let ([m, n, k], strides) = ([m, n, k].map(int), strides.map(int));
            // SAFETY: the three slices do not overlap and are as long as these sizes and strides say.
            unsafe {
                (self.sgemm)(
                    ROW_MAJOR, turned[0], turned[1], m, n, k, 1.0, a, strides[0], b, strides[1],
                    0.0, c, strides[2],
                );
            }
        }
    }
}

/// The name of the library in a file; the names of its folders say nothing.
fn name_of(file: &OsString) -> &'static str {
    let name = Path::new(file).file_name().unwrap_or_default().to_string_lossy();
    if name.contains("mkl") { "MKL" } else { "OpenBLAS" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_is_known_by_its_file() {
        let of = |path: &str| name_of(&path.into());
        assert_eq!(of("libmkl_rt.so.3"), "MKL");
        assert_eq!(of("/opt/mkl/lib/libscipy_openblas.so"), "OpenBLAS");
        assert_eq!(of("/opt/openblas/libmkl_rt.so"), "MKL");
    }

    /// `x = [[1, 2], [3, 4], [5, 6]]`, `w = [[1, 0], [2, 1]]`.
    #[test]
    fn products_by_hand() {
        let libraries = Blas::all();
        if libraries.is_empty() {
            eprintln!(
                "skipped: neither MKL nor OpenBLAS is on this system (HEBBIAN_BLAS names files)"
            );
        }
        for blas in libraries {
            let product = |form| Product { sites: 1, rows: 3, fan_in: 2, units: 2, form };
            let (x, w) = (vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], vec![1.0, 0.0, 2.0, 1.0]);
            let mut operands = [x, w, vec![0.0; 6]];
            blas.multiply(&product(Form::Response), &mut operands);
            // A row is (x₀, 2x₀ + x₁).
            assert_eq!(operands[2], [1.0, 4.0, 3.0, 10.0, 5.0, 16.0]);
            blas.multiply(&product(Form::Update), &mut operands);
            // 1·1 + 3·3 + 5·5, 1·2 + 3·4 + 5·6; 4·1 + 10·3 + 16·5, 4·2 + 10·4 + 16·6.
            assert_eq!(operands[1], [35.0, 44.0, 114.0, 144.0]);
            operands[1] = vec![1.0, 0.0, 2.0, 1.0];
            blas.multiply(&product(Form::Back), &mut operands);
            // y₀·(1, 0) + y₁·(2, 1)
            assert_eq!(operands[0], [9.0, 4.0, 23.0, 10.0, 37.0, 16.0]);
        }
    }
}
