//! Categorical fields and numbers: what they are, their vectors, and their weighted sum.

use crate::nn::{Init, Param, Params};
use crate::{DType, Device, Error, Result, Shape, Tensor};

/// What the columns of a table are to a model: categorical fields with their numbers of ids, and numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    /// For each categorical field how many ids it has, unknown and missing ones included.
    pub sizes: Vec<usize>,
    /// How many columns of numbers there are; a model learns best where they are standardised.
    pub numbers: usize,
}

impl Fields {
    /// Categorical fields alone.
    pub fn categorical(sizes: &[usize]) -> Self {
        Fields { sizes: sizes.to_vec(), numbers: 0 }
    }

    /// Categorical fields and numbers together.
    pub fn count(&self) -> usize {
        self.sizes.len() + self.numbers
    }
}

/// Rows of a table as models read them.
#[derive(Clone, Debug)]
pub struct FieldInput {
    /// (B, fields): an id of each categorical field, i64, u32 or u8.
    pub ids: Tensor,
    /// (B, numbers), in the parameters' dtype; none where the table has no numbers.
    pub numbers: Option<Tensor>,
}

impl FieldInput {
    /// The numbers, checked to be as many as `fields` has.
    pub(crate) fn numbers(&self, fields: &Fields) -> Result<Option<&Tensor>> {
        let found = self.numbers.as_ref().filter(|_| fields.numbers > 0);
        let rows = self.ids.dim(0)?;
        match found {
            Some(numbers) if numbers.dims() != [rows, fields.numbers] => {
                let expected = format!("numbers ({rows}, {}), a row for each row of ids", fields.numbers);
                Err(Error::shape("features", expected, &[*numbers.shape()]))
            }
            None if fields.numbers > 0 => {
                let message = format!("{} numbers per row are expected, got none", fields.numbers);
                Err(Error::argument("features", message))
            }
            _ => Ok(found),
        }
    }
}

/// Several categorical fields in one table of vectors: ids (B, fields), each counted within its own field, to
/// (B, fields, width) by a single gather. `weight` (all fields' ids, width); its gradient is row-sparse.
///
/// An id outside its own field is an error, although the table might have a row there.
#[derive(Clone, Debug)]
pub struct FieldEmbedding {
    /// (the sum of sizes, width).
    pub weight: Param,
    /// Where each field begins in the table, and its size: (fields), i64.
    offsets: Tensor,
    sizes: Tensor,
    counts: Vec<usize>,
}

fn host(values: Vec<i64>, device: &Device) -> Result<Tensor> {
    Tensor::from_slice(&values, [values.len()], device)
}

impl FieldEmbedding {
    /// `sizes` as [`Fields`] has them: at least one field, each of at least one id.
    pub fn new(params: &Params, sizes: &[usize], width: usize, init: Init) -> Result<Self> {
        if sizes.is_empty() || sizes.contains(&0) {
            let message = format!("at least one field and at least one id in each are expected, got {sizes:?}");
            return Err(Error::argument("field_embedding", message));
        }
        let total = sizes.iter().sum();
        let begins = sizes.iter().scan(0, |at, &size| {
            *at += size;
            Some((*at - size) as i64)
        });
        Ok(FieldEmbedding {
            weight: params.param("weight", [total, width], init)?,
            offsets: host(begins.collect(), params.device())?,
            sizes: host(sizes.iter().map(|&s| s as i64).collect(), params.device())?,
            counts: sizes.to_vec(),
        })
    }

    /// The number of fields.
    pub fn fields(&self) -> usize {
        self.counts.len()
    }

    /// ids (B, fields) to (B, fields, width).
    pub fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        let &[_, fields] = ids.dims() else {
            return Err(Error::shape("field_embedding", "ids (B, fields)", &[*ids.shape()]));
        };
        if fields != self.fields() {
            let expected = format!("ids (B, {}), one for each field", self.fields());
            return Err(Error::shape("field_embedding", expected, &[*ids.shape()]));
        }
        let ids = ids.to_dtype(DType::I64)?;
        let zero = Tensor::zeros(1, DType::I64, ids.device())?;
        let own = ids.ge(&zero)?.logical_and(&ids.lt(&self.sizes)?)?;
        // What is not of the field becomes no row at all; otherwise it would be read from the next field.
        let outside = zero.affine(1.0, -1.0)?;
        let rows = own.where_cond(&ids.add(&self.offsets)?, &outside)?;
        self.weight.tensor().embedding(&rows).map_err(|error| self.explain(error, &ids))
    }

    /// On the host the error of a gather comes at once, and can name the field.
    fn explain(&self, error: Error, ids: &Tensor) -> Error {
        let Error::OutOfRange { .. } = &error else { return error };
        let Ok(ids) = ids.to_vec::<i64>() else { return error };
        let wrong = ids.iter().enumerate().find(|&(i, &id)| {
            let size = self.counts[i % self.counts.len()];
            usize::try_from(id).map_or(true, |id| id >= size)
        });
        let Some((i, id)) = wrong else { return error };
        let (row, field) = (i / self.counts.len(), i % self.counts.len());
        let size = self.counts[field];
        Error::argument("field_embedding", format!("id {id} of field {field} in row {row}: the field has {size} ids"))
    }
}

/// A vector for each categorical field's id, and for each number a vector of its own times the number, as factorisation
/// machines have it: (B, fields + numbers, width). `ids.weight` and, where there are numbers, `numbers` (numbers, width).
#[derive(Clone, Debug)]
pub struct FeatureEmbedding {
    /// The categorical fields.
    pub ids: FieldEmbedding,
    /// (numbers, width).
    pub numbers: Option<Param>,
    fields: Fields,
}

impl FeatureEmbedding {
    /// All vectors begin by `init`.
    pub fn new(params: &Params, fields: &Fields, width: usize, init: Init) -> Result<Self> {
        let ids = FieldEmbedding::new(&params.sub("ids"), &fields.sizes, width, init)?;
        let some = fields.numbers > 0;
        let numbers = some.then(|| params.param("numbers", [fields.numbers, width], init)).transpose()?;
        Ok(FeatureEmbedding { ids, numbers, fields: fields.clone() })
    }

    /// (B, fields + numbers, width).
    pub fn forward(&self, x: &FieldInput) -> Result<Tensor> {
        let ids = self.ids.forward(&x.ids)?;
        match (&self.numbers, x.numbers(&self.fields)?) {
            (Some(vectors), Some(numbers)) => {
                let numbers = numbers.unsqueeze(-1)?.mul(&vectors.tensor())?;
                Tensor::cat(&[ids, numbers], 1)
            }
            _ => Ok(ids),
        }
    }
}

/// b + Σ w: a weight for each id of each field, one for each number times that number, and a bias: (B). Alone it is the
/// logit of logistic regression; it is the wide part of wide models. All begin as 0.
#[derive(Clone, Debug)]
pub struct LinearTerm {
    /// Vectors of one element.
    pub weights: FeatureEmbedding,
    /// (1).
    pub bias: Param,
}

impl LinearTerm {
    /// `weights.ids.weight`, `weights.numbers` and `bias`.
    pub fn new(params: &Params, fields: &Fields) -> Result<Self> {
        Ok(LinearTerm {
            weights: FeatureEmbedding::new(&params.sub("weights"), fields, 1, Init::ZEROS)?,
            bias: params.param("bias", [1], Init::ZEROS)?,
        })
    }

    /// (B).
    pub fn forward(&self, x: &FieldInput) -> Result<Tensor> {
        self.weights.forward(x)?.sum(&[1, 2])?.add(&self.bias.tensor())
    }
}

/// Cross-product features (Cheng et al. 2016): for pairs of categorical fields a field whose ids are the pairs of theirs.
/// No parameters: the ids of the pairs are computed, id · size + other id.
#[derive(Clone, Debug)]
pub struct CrossedFields {
    pairs: Vec<[usize; 2]>,
    /// The places of the first and of the second of each pair, and the sizes of the second.
    columns: [Tensor; 2],
    sizes: Tensor,
    fields: Fields,
}

impl CrossedFields {
    /// Pairs of numbers of categorical fields.
    pub fn new(params: &Params, fields: &Fields, pairs: &[[usize; 2]]) -> Result<Self> {
        let count = fields.sizes.len();
        if let Some(&index) = pairs.iter().flatten().find(|&&f| f >= count) {
            let index = index as i64;
            return Err(Error::OutOfRange { op: "crossed_fields", what: "field", index, bound: count });
        }
        let device = params.device();
        let column = |side: usize| host(pairs.iter().map(|p| p[side] as i64).collect(), device);
        let sizes = pairs.iter().map(|p| fields.sizes[p[1]] as i64).collect();
        Ok(CrossedFields {
            columns: [column(0)?, column(1)?],
            sizes: host(sizes, device)?,
            pairs: pairs.to_vec(),
            fields: fields.clone(),
        })
    }

    /// The fields with the crossed ones behind the categorical ones.
    pub fn fields(&self) -> Fields {
        let mut out = self.fields.clone();
        out.sizes.extend(self.pairs.iter().map(|&[a, b]| self.fields.sizes[a] * self.fields.sizes[b]));
        out
    }

    /// The features with the crossed fields behind the categorical ones.
    pub fn forward(&self, x: &FieldInput) -> Result<FieldInput> {
        if self.pairs.is_empty() {
            return Ok(x.clone());
        }
        let expected = Shape::new(&[x.ids.dim(0)?, self.fields.sizes.len()])?;
        if x.ids.shape() != &expected {
            let expected = format!("ids {expected}, one for each field");
            return Err(Error::shape("crossed_fields", expected, &[*x.ids.shape()]));
        }
        let ids = x.ids.to_dtype(DType::I64)?;
        let [first, second] = [ids.index_select(1, &self.columns[0])?, ids.index_select(1, &self.columns[1])?];
        let crossed = first.mul(&self.sizes)?.add(&second)?;
        Ok(FieldInput { ids: Tensor::cat(&[ids, crossed], 1)?, numbers: x.numbers.clone() })
    }
}
