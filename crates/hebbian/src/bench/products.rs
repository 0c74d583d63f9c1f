//! The matrix products that a piece of work needs, and how long the available libraries take for them.

use super::blas::Blas;
use super::product::{Form, Product};
use super::timing::time;
use anyhow::Result;
use candle::{DType, Device, Tensor};
use candle_hebbian::Rng;
use std::hint::black_box;

/// A library that multiplies matrices.
#[derive(Debug)]
enum Library {
    /// candle: `gemm` on a CPU, cuBLAS or Metal's on a GPU.
    Candle { name: &'static str, operands: Vec<[Tensor; 3]> },
    /// A BLAS library of the system, with operands in memory of its own.
    Blas { blas: Blas, operands: Vec<[Vec<f32>; 3]> },
}

/// The products of a piece of work, ready to be timed with every library.
#[derive(Debug)]
pub(super) struct Bare {
    products: Vec<Product>,
    libraries: Vec<Library>,
    device: Device,
}

impl Bare {
    /// Prepares the products with random numbers.
    pub fn new(products: &[Product], device: &Device) -> Result<Self> {
        let mut rng = Rng::new(0).stream("bare products");
        let operands: Vec<[Tensor; 3]> = products
            .iter()
            .map(|&Product { sites, rows, fan_in, units, .. }| {
                let mut normal = |shape| rng.normal(0.0, 1.0, shape, DType::F32, device);
                let (x, w) = (normal((sites, rows, fan_in))?, normal((sites, units, fan_in))?);
                Ok([x, w, normal((sites, rows, units))?])
            })
            .collect::<Result<_>>()?;
        let mut libraries = Vec::new();
        if device.is_cpu() {
            for blas in Blas::all() {
                let host = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f32>();
                let operands = operands
                    .iter()
                    .map(|[x, w, y]| Ok([host(x)?, host(w)?, host(y)?]))
                    .collect::<Result<_>>()?;
                libraries.push(Library::Blas { blas, operands });
            }
        }
        let name = if device.is_cpu() { "gemm" } else { "candle" };
        libraries.insert(0, Library::Candle { name, operands });
        Ok(Self { products: products.to_vec(), libraries, device: device.clone() })
    }

    /// The libraries, in the order of [`time`](Self::time).
    pub fn names(&self) -> Vec<&str> {
        let name = |library: &'_ Library| match library {
            Library::Candle { name, .. } => *name,
            Library::Blas { blas, .. } => blas.name(),
        };
        self.libraries.iter().map(name).collect()
    }

    /// Returns how many milliseconds each library takes for all products, timed as [`time`] does.
    pub fn time(&mut self) -> Result<Vec<f64>> {
        let Self { products, libraries, device } = self;
        let libraries = libraries.iter_mut();
        libraries.map(|library| time(device, &mut || library.multiply(products))).collect()
    }
}

impl Library {
    /// Computes all products.
    fn multiply(&mut self, products: &[Product]) -> Result<()> {
        match self {
            Self::Candle { operands, .. } => {
                for (product, [x, w, y]) in products.iter().zip(operands) {
                    black_box(match product.form {
                        Form::Response => x.matmul(&w.t()?)?,
                        Form::Update => y.t()?.matmul(x)?,
                        Form::Back => y.matmul(w)?,
                    });
                }
            }
            Self::Blas { blas, operands } => {
                for (product, operands) in products.iter().zip(operands) {
                    blas.multiply(product, operands);
                }
            }
        }
        Ok(())
    }
}
