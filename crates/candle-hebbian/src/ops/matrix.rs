//! Matrices in memory.

/// A matrix in memory: entry `(i, j)` is at `i·row + j·column`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Matrix<'a, T> {
    pub data: &'a [T],
    pub row: usize,
    pub column: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// A matrix with rows of `columns` entries, one after the other.
    pub fn rows(data: &'a [T], columns: usize) -> Self {
        Self { data, row: columns, column: 1 }
    }

    /// The transpose.
    pub fn t(self) -> Self {
        Self { row: self.column, column: self.row, ..self }
    }

    /// The matrix without the columns before `first`, a column that must exist.
    pub fn after_column(self, first: usize) -> Self {
        Self { data: &self.data[first * self.column..], ..self }
    }

    /// Whether `data` holds all entries of `rows` rows and `columns` columns, neither of which may be 0.
    pub fn holds(&self, rows: usize, columns: usize) -> bool {
        let last = (rows - 1).checked_mul(self.row).zip((columns - 1).checked_mul(self.column));
        last.and_then(|(i, j)| i.checked_add(j)).is_some_and(|last| last < self.data.len())
    }
}
