//! Tables, read back from the file and as they are shown.

use hebbian_train::{Cell, Table};

#[test]
fn a_file_gives_back_what_was_written() {
    let numbers = [0.1, 1.0 / 3.0, -2.5e-300, 6.02214076e23, 5e-324, f64::MAX, -0.0, 81.0];
    let texts = ["plain", "a, b", "says \"no\"", "two\nlines", "", " µ ", "=1+1", "7"];
    let mut table = Table::new(["name", "big, whole", "value", "none"]);
    for (at, (&number, text)) in numbers.iter().zip(texts).enumerate() {
        let whole = u64::MAX - at as u64;
        table.row([text.into(), whole.into(), number.into(), None::<i64>.into()]).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.csv");
    table.save_csv(&path).unwrap();

    let mut reader = csv::Reader::from_path(&path).unwrap();
    assert_eq!(reader.headers().unwrap(), vec!["name", "big, whole", "value", "none"]);
    let rows: Vec<(String, u64, f64, Option<f64>)> =
        reader.deserialize().collect::<Result<_, _>>().unwrap();
    assert_eq!(rows.len(), numbers.len());
    for (at, (row, number)) in rows.iter().zip(numbers).enumerate() {
        assert_eq!((row.0.as_str(), row.1, row.3), (texts[at], u64::MAX - at as u64, None));
        assert_eq!(row.2.to_bits(), number.to_bits(), "{number}");
    }
    // Nothing else is left in the folder.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_is_not_finite_stays_so() {
    let mut table = Table::new(["loss"]);
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        table.row([value.into()]).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.csv");
    table.save_csv(&path).unwrap();
    let rows: Vec<f64> =
        csv::Reader::from_path(path).unwrap().deserialize().collect::<Result<_, _>>().unwrap();
    assert!(rows[0].is_nan());
    assert_eq!(rows[1..], [f64::INFINITY, f64::NEG_INFINITY]);
    assert_eq!(table.to_string(), "loss\n----\n NaN\n inf\n-inf\n");
}

#[test]
fn the_terminal_form_is_aligned_and_rounded() {
    let mut table = Table::new(["größe", "n", "loss"]);
    table.row(["a".into(), (-3).into(), 0.123456.into()]).unwrap();
    table.row(["déjà vu".into(), 1200usize.into(), 12.0.into()]).unwrap();
    table.row([Cell::Empty, 5u32.into(), "failed".into()]).unwrap();
    let expected = "größe       n  loss\n\
                    -------  ----  -------\n\
                    a          -3   0.1235\n\
                    déjà vu  1200  12.0000\n\
                    \u{20}           5  failed\n";
    assert_eq!(table.to_string(), expected);
    // Values too small or too large for so few decimals.
    let mut table = Table::new(["rate"]);
    for value in [0.0, 0.01, 0.00125, -3e12] {
        table.row([value.into()]).unwrap();
    }
    assert_eq!(
        format!("{table:.2}"),
        "    rate\n--------\n    0.00\n    0.01\n 1.25e-3\n-3.00e12\n"
    );
}

#[test]
fn rows_have_to_fit() {
    let mut table = Table::new(["a", "b"]);
    let message = table.row([1.into()]).unwrap_err().to_string();
    assert!(
        message.contains("1 cells") && message.contains(r#"2 columns ["a", "b"]"#),
        "{message}"
    );
    let message = table.row([1.into(), 2.into(), 3.into()]).unwrap_err().to_string();
    assert!(message.contains("3 cells"), "{message}");
    assert_eq!(table, Table::new(["a", "b"]));
    let folder = tempfile::tempdir().unwrap();
    assert!(table.save_csv(folder.path().join("no/such.csv")).is_err());
    // A table without rows is a file with its header.
    let path = folder.path().join("empty.csv");
    table.save_csv(&path).unwrap();
    assert_eq!(std::fs::read_to_string(path).unwrap(), "a,b\n");
}
