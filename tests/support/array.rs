//! A plain row-major f64 array for references written from the definition.

#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    pub dims: Vec<usize>,
    pub data: Vec<f64>,
}

impl Array {
    pub fn new(dims: &[usize], data: Vec<f64>) -> Self {
        assert_eq!(dims.iter().product::<usize>(), data.len(), "{dims:?}");
        Array { dims: dims.to_vec(), data }
    }

    pub fn zeros(dims: &[usize]) -> Self {
        Array::new(dims, vec![0.0; dims.iter().product()])
    }

    /// Fills by a function of the multi-index.
    pub fn from_fn(dims: &[usize], mut f: impl FnMut(&[usize]) -> f64) -> Self {
        let mut out = Array::zeros(dims);
        for flat in 0..out.data.len() {
            let index = out.index_of(flat);
            out.data[flat] = f(&index);
        }
        out
    }

    pub fn index_of(&self, mut flat: usize) -> Vec<usize> {
        let mut index = vec![0; self.dims.len()];
        for axis in (0..self.dims.len()).rev() {
            index[axis] = flat % self.dims[axis];
            flat /= self.dims[axis];
        }
        index
    }

    pub fn flat(&self, index: &[usize]) -> usize {
        assert_eq!(index.len(), self.dims.len());
        index.iter().zip(&self.dims).fold(0, |flat, (&i, &d)| {
            assert!(i < d, "{index:?} in {:?}", self.dims);
            flat * d + i
        })
    }

    pub fn at(&self, index: &[usize]) -> f64 {
        self.data[self.flat(index)]
    }

    /// The element that NumPy's broadcasting gives at an index of the broadcast shape.
    pub fn at_broadcast(&self, index: &[usize]) -> f64 {
        let extra = index.len() - self.dims.len();
        let own: Vec<usize> =
            self.dims.iter().zip(&index[extra..]).map(|(&d, &i)| if d == 1 { 0 } else { i }).collect();
        self.at(&own)
    }

    pub fn map(&self, f: impl Fn(f64) -> f64) -> Array {
        Array::new(&self.dims, self.data.iter().map(|&x| f(x)).collect())
    }
}

/// The shape of two arrays broadcast together.
pub fn broadcast_dims(a: &[usize], b: &[usize]) -> Vec<usize> {
    let rank = a.len().max(b.len());
    let get = |d: &[usize], i: usize| if i + d.len() >= rank { d[i + d.len() - rank] } else { 1 };
    (0..rank).map(|i| if get(a, i) == 1 { get(b, i) } else { get(a, i) }).collect()
}

/// A binary function over two arrays broadcast together.
pub fn zip(a: &Array, b: &Array, f: impl Fn(f64, f64) -> f64) -> Array {
    Array::from_fn(&broadcast_dims(&a.dims, &b.dims), |i| f(a.at_broadcast(i), b.at_broadcast(i)))
}
