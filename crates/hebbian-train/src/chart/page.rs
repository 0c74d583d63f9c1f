//! Panels in a grid, drawn by plotters: each with its title, axes and mesh, and legends beside them.

use std::error::Error;
use std::sync::Once;

use plotters::chart::SeriesLabelPosition;
use plotters::coord::Shift;
use plotters::coord::cartesian::Cartesian2d;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::register_font;

use super::axis::Axis;
use crate::Picture;

/// Everything is drawn this many times larger than the picture and then averaged down: plotters knows whole
/// pixels only, which would make thin lines and the spacing of letters uneven. All sizes below are those before
/// averaging.
const FINER: usize = 2;
/// The font's name in plotters' registry, unlikely to collide with a font of a program that uses plotters too.
const FAMILY: &str = "hebbian-train DejaVu Sans";
/// Sizes of text.
const TITLE: f64 = 40.0;
const LABEL: f64 = 34.0;
pub(super) const SMALL: f64 = 30.0;
const CAPTION: f64 = 24.0;
/// The width of a line; plotters draws oblique lines of width 4 too thin.
pub(super) const STROKE: u32 = 5;
/// The lengths of the drawn pieces and of the gaps in a dashed line, and in a dotted one.
pub(super) const DASH: (i32, i32) = (20, 14);
pub(super) const DOTTED: (i32, i32) = (5, 9);
pub(super) const SOLID: (i32, i32) = (i32::MAX, 0);
/// The radius of a dot in a series of few.
pub(super) const DOT: i32 = 8;
/// The width of the caps of an error bar, and the diameter of the dot on it.
pub(super) const CAP: u32 = 12;
/// The space around panels, and between an element and its label.
const MARGIN: u32 = 24;
const GAP: u32 = 14;
/// The length of a line's sample in the legend.
const SAMPLE: i32 = 60;
/// The size of a single panel; the width for several panels side by side, with legends; and the least width of
/// one of these.
const SIZE: (u32, u32) = (1500, 1120);
const ROOM: u32 = 2760;
const NARROWEST: u32 = 760;
/// The most panels side by side that can still be read.
const MOST_COLUMNS: usize = 4;
/// The most pixels of a picture.
const MOST_PIXELS: f64 = 5e7;
/// How far plotters places text above the middle of its box, as a fraction of the font size.
const LIFT: f64 = 0.2;

const INK: RGBColor = RGBColor(34, 34, 34);
const AXIS: RGBColor = RGBColor(110, 110, 110);
const GRID: RGBColor = RGBColor(230, 230, 230);
/// The opacity of a band.
pub(super) const BAND: f64 = 0.25;

type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;
pub(super) type Plot<'a> = ChartContext<'a, BitMapBackend<'a>, Cartesian2d<Axis, Axis>>;
/// The result of drawing; errors are mostly those of plotters.
pub(super) type Drawn<T> = Result<T, Box<dyn Error>>;

/// The function that draws the data.
type Contents<'c> = dyn Fn(&mut Plot<'_>) -> Drawn<()> + 'c;

/// A line of a legend; entries without a name are left out.
#[derive(PartialEq)]
pub(super) struct Entry<'c> {
    pub name: &'c str,
    pub colour: RGBColor,
    /// The opacity of the area behind the line.
    pub shade: f64,
    /// The lengths of the line's drawn pieces and of its gaps; zeros for no line.
    pub dash: (i32, i32),
    /// The opacity of the dot: 1 for a dot, 0 for none.
    pub dot: f64,
}

/// A plot with its title, axes and legend.
pub(super) struct Panel<'c> {
    pub title: &'c str,
    pub x_label: &'c str,
    pub y_label: &'c str,
    pub x: Axis,
    pub y: Axis,
    /// Whether there are also grid lines at the labels of the x axis.
    pub vertical_grid: bool,
    /// The least width of the plot.
    pub least_width: f64,
    pub legend: Vec<Entry<'c>>,
    pub draw: Box<Contents<'c>>,
}

/// Draws the panels in reading order in `columns` columns, all of one size. A legend that is the same for all
/// panels is drawn once.
pub(super) fn draw(mut panels: Vec<Panel<'_>>, columns: usize) -> Drawn<Picture> {
    panels.iter_mut().for_each(|panel| panel.legend.retain(|entry| !entry.name.is_empty()));
    let columns = columns.clamp(1, panels.len().min(MOST_COLUMNS));
    let rows = panels.len().div_ceil(columns);
    let shared = panels.windows(2).all(|pair| pair[0].legend == pair[1].legend);
    let ticks = widest(panels.iter().flat_map(|panel| &panel.y.ticks).map(|tick| &tick.1))?;
    let left = (ticks + LABEL) as u32 + 3 * GAP;
    let names = widest(panels.iter().flat_map(|panel| &panel.legend).map(|entry| entry.name))?;
    let beside =
        if names > 0.0 { (names as u32).saturating_add(SAMPLE as u32 + 2 * MARGIN) } else { 0 };
    let lines = panels.iter().map(|panel| panel.legend.len()).max().unwrap_or(0);

    let least = panels.iter().fold(0.0, |least: f64, panel| least.max(panel.least_width));
    let legends = if shared { 1 } else { columns as u32 };
    let room = ROOM.saturating_sub(beside.saturating_mul(legends)) / columns as u32;
    let width = SIZE.0.min(room.max(NARROWEST)).max((least as u32).saturating_add(left));
    let height = SIZE.1.min(width / 4 * 3).max((1.25 * SMALL * lines as f64 + 4.0 * TITLE) as u32);
    let (cell, strip) = if shared { (width, beside) } else { (width.saturating_add(beside), 0) };
    let across = columns as f64 * f64::from(cell) + f64::from(strip);
    paint(across, rows as f64 * f64::from(height), |area| {
        let (grid, strip) = area.split_horizontally(columns as u32 * cell);
        let (grid, _) = grid.split_vertically(rows as u32 * height);
        if let Some(panel) = panels.first().filter(|_| shared) {
            draw_legend(&strip, &panel.legend)?;
        }
        for (area, panel) in grid.split_evenly((rows, columns)).iter().zip(panels) {
            let (area, strip) = area.split_horizontally(width);
            if !shared {
                draw_legend(&strip, &panel.legend)?;
            }
            panel.draw(&area, left)?;
        }
        Ok(())
    })
}

/// Returns the picture with lines of text above it.
pub(super) fn under(picture: &Picture, words: &str) -> Drawn<Picture> {
    let lines: Vec<&str> = words.lines().collect();
    let width = widest(lines.iter())? + 2.0 * f64::from(MARGIN);
    let height = 1.25 * SMALL * lines.len() as f64 + f64::from(MARGIN);
    let title = paint(width, height, |area| {
        let at = (MARGIN as i32, MARGIN as i32);
        let mut element = MultiLineText::<_, &str>::new(at, text(SMALL));
        lines.iter().for_each(|line| element.push_line(*line));
        Ok(area.draw(&element)?)
    })?;
    Ok(title.above(picture))
}

/// Draws a line of text.
pub(super) fn line(words: &str, colour: RGBColor) -> Drawn<Picture> {
    let style = text(CAPTION).color(&colour);
    let width = f64::from(style.font.box_size(words)?.0) + f64::from(GAP);
    paint(width, 1.4 * CAPTION, |area| Ok(area.draw_text(words, &style, (0, GAP as i32 / 2))?))
}

/// Draws on white, on an area of `across` × `down` pixels, and averages it down.
fn paint(across: f64, down: f64, draw: impl FnOnce(&Area<'_>) -> Drawn<()>) -> Drawn<Picture> {
    let size = [across, down].map(|size| (size / FINER as f64).ceil());
    if size[0] * size[1] > MOST_PIXELS {
        Err(format!("it would be a picture of {} × {} pixels", size[0], size[1]))?;
    }
    let size = size.map(|size| size as usize * FINER);
    let mut picture = Picture::new(size[0], size[1], [255; 3]);
    let size = (size[0] as u32, size[1] as u32);
    let area = BitMapBackend::with_buffer(picture.bytes_mut(), size).into_drawing_area();
    draw(&area)?;
    area.present()?;
    drop(area);
    Ok(picture.reduced(FINER))
}

impl Panel<'_> {
    fn draw(self, area: &Area<'_>, left: u32) -> Drawn<()> {
        let (width, height) = area.dim_in_pixel();
        let mut builder = ChartBuilder::on(area);
        builder
            .margin(MARGIN)
            .x_label_area_size(GAP + (2.4 * LABEL) as u32)
            .y_label_area_size(left);
        if !self.title.is_empty() {
            builder.caption(self.title, fitted(self.title, TITLE, width - 2 * MARGIN)?);
        }
        let mut plot = builder.build_cartesian_2d(self.x, self.y)?;
        let mut mesh = plot.configure_mesh();
        mesh.axis_style(AXIS).bold_line_style(GRID.stroke_width(2)).light_line_style(TRANSPARENT);
        if !self.vertical_grid {
            mesh.disable_x_mesh();
        }
        let longest =
            if self.x_label.len() > self.y_label.len() { self.x_label } else { self.y_label };
        mesh.x_desc(self.x_label)
            .y_desc(self.y_label)
            .axis_desc_style(fitted(longest, LABEL, height - 5 * MARGIN)?)
            .label_style(text(SMALL))
            .set_all_tick_mark_size(GAP / 2)
            .y_label_offset((LIFT * SMALL) as u32)
            .draw()?;
        (self.draw)(&mut plot)
    }
}

/// Draws the legend in an area of its own, where it hides no data.
fn draw_legend(area: &Area<'_>, entries: &[Entry<'_>]) -> Drawn<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let mut chart =
        ChartBuilder::on(area).margin_top(2.0 * TITLE).build_cartesian_2d(0.0..1.0, 0.0..1.0)?;
    for entry in entries {
        let none = std::iter::empty::<Pixel<(f64, f64)>>();
        let &Entry { colour, shade, dash, dot, .. } = entry;
        let half = SMALL as i32 / 2;
        chart.draw_series(none)?.label(entry.name).legend(move |(x, y)| {
            let line = vec![(0, 0), (SAMPLE, 0)];
            EmptyElement::at((x, y - (LIFT * SMALL) as i32))
                + Rectangle::new([(0, -half), (SAMPLE, half)], colour.mix(shade).filled())
                + DashedPathElement::new(line, dash.0, dash.1, colour.stroke_width(STROKE))
                + Circle::new((SAMPLE / 2, 0), DOT, colour.mix(dot).filled())
        });
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .margin(0)
        .legend_area_size(SAMPLE + GAP as i32)
        .label_font(text(SMALL))
        .draw()?;
    Ok(())
}

/// A text style of the given size.
pub(super) fn text(size: f64) -> TextStyle<'static> {
    static REGISTER: Once = Once::new();
    REGISTER.call_once(|| {
        let bytes = include_bytes!("../../assets/DejaVuSans-subset.ttf");
        // If this fails, measuring and drawing report that there is no such font.
        let _ = register_font(FAMILY, FontStyle::Normal, bytes);
    });
    FontDesc::new(FontFamily::Name(FAMILY), size, FontStyle::Normal).color(&INK)
}

/// The width of the widest of the texts in small type.
pub(super) fn widest(mut texts: impl Iterator<Item = impl AsRef<str>>) -> Drawn<f64> {
    let font = text(SMALL).font;
    texts.try_fold(0.0, |most: f64, text| Ok(most.max(f64::from(font.box_size(text.as_ref())?.0))))
}

/// A text style of the given size, or of a smaller one if `words` would be wider than `room`.
fn fitted(words: &str, size: f64, room: u32) -> Drawn<TextStyle<'static>> {
    let width = f64::from(text(size).font.box_size(words)?.0);
    Ok(text(size * (f64::from(room) / width.max(1.0)).min(1.0)))
}
