use super::*;

#[test]
fn quantiles_are_values_that_occurred() {
    let values: Vec<f64> = (1..=100).map(f64::from).collect();
    assert_eq!(
        (quantile(&values, 0.5), quantile(&values, 0.99), quantile(&values, 1.0)),
        (51.0, 99.0, 100.0)
    );
    assert!(quantile(&[], 0.5).is_nan());
    assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
}

#[test]
fn a_figure_over_its_goal_is_marked() {
    assert!(line(&Figure::new("a", 11.0, "s").goal(10.0)).ends_with('×'));
    assert!(line(&Figure::new("a", 9.0, "s").goal(10.0)).ends_with('√'));
}
