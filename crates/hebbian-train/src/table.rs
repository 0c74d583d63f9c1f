//! Tables, for other programs and for people.

use std::fmt;
use std::path::Path;

use crate::{Error, Result, atomic};

/// Decimals of a number in the terminal, unless a precision is given.
const DECIMALS: usize = 4;

/// A table with named columns.
///
/// [`save_csv`](Self::save_csv) writes it for other programs, with numbers that read back unchanged.
/// Formatting prints it for people; the precision sets the decimals of its numbers: `{table}`
/// prints 4 of them, `{table:.2}` prints 2.
///
/// ```
/// use hebbian_train::Table;
///
/// let mut table = Table::new(["rule", "seed", "accuracy"]);
/// table.row(["oja".into(), 1.into(), 0.94375.into()])?;
/// table.row(["softhebb".into(), 12.into(), None::<f64>.into()])?;
/// assert_eq!(
///     format!("{table:.3}"),
///     "rule      seed  accuracy\n\
///      --------  ----  --------\n\
///      oja          1     0.944\n\
///      softhebb    12\n"
/// );
/// # Ok::<(), hebbian_train::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

/// The content of one column in a row of a [`Table`].
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Nothing; `None` is converted to this.
    Empty,
    /// A whole number.
    Integer(i128),
    /// Any other number. NaN and infinities are written as `NaN`, `inf` and `-inf`.
    Number(f64),
    /// Anything else.
    Text(String),
}

impl Table {
    /// A table with these columns and no rows.
    pub fn new<C: Into<String>>(columns: impl IntoIterator<Item = C>) -> Self {
        Self { columns: columns.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// When the row does not have one cell per column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) -> Result<()> {
        let cells: Vec<_> = cells.into_iter().collect();
        if cells.len() != self.columns.len() {
            return Err(Error::Argument(format!(
                "a row of {} cells does not fit the table's {} columns {:?}; give one for each, \
                 Cell::Empty where there is none",
                cells.len(),
                self.columns.len(),
                self.columns
            )));
        }
        self.rows.push(cells);
        Ok(())
    }

    /// Writes a CSV file, atomically: a line of column names, then the rows. Each number has the fewest
    /// digits that read back as the same number.
    ///
    /// # Errors
    /// When the file cannot be written; an older file of that name then stays.
    pub fn save_csv(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        atomic::write(path, |file| {
            let mut writer = csv::Writer::from_writer(file);
            let mut write = || -> csv::Result<()> {
                writer.write_record(&self.columns)?;
                for row in &self.rows {
                    writer.write_record(row.iter().map(Cell::exact))?;
                }
                Ok(writer.flush()?)
            };
            write().map_err(|error| Error::io("write", path)(error.into()))
        })
    }
}

/// Columns are as wide as necessary and two spaces apart; numbers are aligned to the right.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = f.precision().unwrap_or(DECIMALS);
        let rounded = |row: &Vec<Cell>| row.iter().map(|cell| cell.rounded(decimals)).collect();
        let rows: Vec<Vec<String>> = self.rows.iter().map(rounded).collect();
        let length = |text: &String| text.chars().count();
        let widths: Vec<_> = (0..self.columns.len())
            .map(|at| {
                let cells = rows.iter().map(|row| length(&row[at]));
                cells.fold(length(&self.columns[at]), usize::max)
            })
            .collect();
        // A name is aligned like the text or the numbers in its column.
        let is_text = |at: usize| self.rows.iter().any(|row| matches!(row[at], Cell::Text(_)));
        let right: Vec<_> = (0..self.columns.len()).map(|at| !is_text(at)).collect();

        let mut line = |cells: &[String], right: &dyn Fn(usize) -> bool| {
            let cells = cells.iter().zip(&widths).enumerate();
            let cells = cells.map(|(at, (cell, &width))| match right(at) {
                true => format!("{cell:>width$}"),
                false => format!("{cell:<width$}"),
            });
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())
        };
        line(&self.columns, &|at| right[at])?;
        let rules: Vec<_> = widths.iter().map(|&width| "-".repeat(width)).collect();
        line(&rules, &|_| false)?;
        for (cells, row) in rows.iter().zip(&self.rows) {
            line(cells, &|at| !matches!(row[at], Cell::Text(_)))?;
        }
        Ok(())
    }
}

impl Cell {
    fn exact(&self) -> String {
        match self {
            Self::Empty => String::new(),
            Self::Integer(number) => number.to_string(),
            // Unlike Display, Debug uses exponents if numbers get long.
            Self::Number(number) => format!("{number:?}"),
            Self::Text(text) => text.clone(),
        }
    }

    fn rounded(&self, decimals: usize) -> String {
        match self {
            Self::Number(number) if number.is_finite() => {
                // An exponent avoids a row of zeros for a small number and many digits for a large one.
                let size = number.abs();
                if size != 0.0 && !(10f64.powi(-(decimals as i32))..1e9).contains(&size) {
                    format!("{number:.decimals$e}")
                } else {
                    format!("{number:.decimals$}")
                }
            }
            _ => self.exact(),
        }
    }
}

impl From<f64> for Cell {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_string())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl<T: Into<Self>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Empty, Into::into)
    }
}

macro_rules! integers {
    ($($integer:ty)*) => {$(
        impl From<$integer> for Cell {
            fn from(number: $integer) -> Self {
                Self::Integer(number as i128)
            }
        }
    )*};
}
integers!(i32 i64 u32 u64 usize);
