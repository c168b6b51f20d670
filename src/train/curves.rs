//! Pictures of curves, as SVG or PNG: no fonts are needed to draw them.

use super::canvas::{Canvas, PIXEL, Pixels};
use crate::metrics::Smoothed;
use crate::{Error, Result};
use plotters::prelude::*;
use std::path::Path;

/// One line in a picture.
#[derive(Clone, Debug)]
pub struct Curve {
    /// What the legend calls it.
    pub name: String,
    /// (x, y), in order of x; points that are not finite are left out.
    pub points: Vec<(f64, f64)>,
    /// Drawn pale, as the background of a smoothed one.
    pub pale: bool,
}

impl Curve {
    /// A line.
    pub fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Curve { name: name.into(), points, pale: false }
    }

    /// A pale line.
    pub fn pale(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Curve { pale: true, ..Curve::new(name, points) }
    }
}

/// The exponential moving average of values, which keeps `keep` of itself at each; without the bias of its start
/// (Kingma and Ba 2015, section 3): [`Smoothed`] of each. An error unless `keep` is in [0, 1).
pub fn smoothed(values: &[f64], keep: f64) -> Result<Vec<f64>> {
    let mut average = Smoothed::new(keep)?;
    Ok(values.iter().map(|&value| average.add(value)).collect())
}

/// Draws one panel per entry (title, x axis, curves), one above the other, into a file, atomically: a PNG where its
/// name ends so, else an SVG.
pub fn draw_curves(path: impl AsRef<Path>, panels: &[(&str, &str, Vec<Curve>)]) -> Result<()> {
    let path = path.as_ref();
    let size = (900, 320 * panels.len().max(1) as u32);
    let failed = |message| Error::Format { what: path.display().to_string(), message };
    let bytes = if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png")) {
        let mut pixels = Pixels::new(size.0, size.1);
        draw(&Canvas::Pixels(&mut pixels).into_drawing_area(), panels, 2.0 * PIXEL).map_err(failed)?;
        pixels.png()
    } else {
        let mut svg = String::new();
        draw(&Canvas::Svg(SVGBackend::with_string(&mut svg, size)).into_drawing_area(), panels, 12.0)
            .map_err(failed)?;
        svg.into_bytes()
    };
    crate::nn::write_atomically(path, |to| to.write_all(&bytes))
}

type Area<'a> = DrawingArea<Canvas<'a>, plotters::coord::Shift>;

/// `text` is the size of the smaller letters.
fn draw(root: &Area<'_>, panels: &[(&str, &str, Vec<Curve>)], text: f64) -> Result<(), String> {
    root.fill(&WHITE).map_err(|e| e.to_string())?;
    for (area, (title, x_axis, curves)) in root.split_evenly((panels.len().max(1), 1)).iter().zip(panels) {
        panel(area, title, x_axis, curves, text)?;
    }
    root.present().map_err(|e| e.to_string())
}

fn panel(area: &Area<'_>, title: &str, x_axis: &str, curves: &[Curve], size: f64) -> Result<(), String> {
    let finite = |c: &Curve| -> Vec<(f64, f64)> {
        c.points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect()
    };
    let all: Vec<(f64, f64)> = curves.iter().flat_map(finite).collect();
    let span = |of: fn(&(f64, f64)) -> f64| {
        let low = all.iter().map(of).fold(f64::INFINITY, f64::min);
        let high = all.iter().map(of).fold(f64::NEG_INFINITY, f64::max);
        let centre = if low.is_finite() { low } else { 0.0 };
        if low < high { low..high } else { centre - 0.5..centre + 0.5 }
    };
    let text = |e: DrawingAreaErrorKind<std::io::Error>| e.to_string();
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 1.5 * size))
        .margin(12)
        .margin_right(24)
        .x_label_area_size(48)
        .y_label_area_size(84)
        .build_cartesian_2d(span(|p| p.0), span(|p| p.1))
        .map_err(text)?;
    let letters = ("sans-serif", size);
    let mut mesh = chart.configure_mesh();
    mesh.light_line_style(WHITE).x_desc(x_axis).label_style(letters).axis_desc_style(letters);
    mesh.draw().map_err(text)?;
    let colours = [RGBColor(31, 119, 180), RGBColor(214, 90, 20), RGBColor(44, 140, 44), RGBColor(148, 60, 160)];
    for (i, curve) in curves.iter().enumerate() {
        let colour = colours[i % colours.len()].mix(if curve.pale { 0.3 } else { 1.0 });
        chart
            .draw_series(LineSeries::new(finite(curve), colour.stroke_width(if curve.pale { 1 } else { 2 })))
            .map_err(text)?
            .label(curve.name.clone())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .label_font(letters)
        .border_style(BLACK)
        .background_style(WHITE)
        .draw()
        .map_err(text)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_of_a_constant_is_the_constant_from_the_start() {
        for v in smoothed(&[3.0; 5], 0.9).unwrap() {
            assert!((v - 3.0).abs() < 1e-12);
        }
    }

    #[test]
    fn curves_without_points_or_with_infinite_ones_are_drawn() {
        let path = std::env::temp_dir().join(format!("warpsmith-curves-{}.svg", std::process::id()));
        let curves =
            vec![Curve::new("loss", vec![(0.0, 1.0), (1.0, f64::NAN), (2.0, 0.5)]), Curve::pale("raw", vec![])];
        draw_curves(&path, &[("loss", "step", curves), ("nothing", "epoch", vec![])]).unwrap();
        let svg = std::fs::read_to_string(&path).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("loss") && !svg.contains("NaN"));
        std::fs::remove_file(&path).unwrap();
    }
}
