//! Programs: see the folders beside this file.
