//! The faults that `cargo xtask kernel-faults` plants: each changes one place of one file in `kernels/`.

/// A fault.
pub struct Fault {
    /// The family whose tests must notice it, as `selftest --only` has it.
    pub family: &'static str,
    /// The module that is compiled.
    pub module: &'static str,
    /// The file that is changed.
    pub file: &'static str,
    /// Text before the place: the change is made behind its first occurrence. Empty: from the file's start.
    pub after: &'static str,
    /// What stands there.
    pub from: &'static str,
    /// What is put there.
    pub to: &'static str,
    /// What that means.
    pub what: &'static str,
}

macro_rules! faults {
    ($($family:literal $module:literal $file:literal { $($after:literal: $from:literal => $to:literal, $what:literal;)+ })+) => {
        &[$($(Fault {
            family: $family, module: $module, file: $file, after: $after, from: $from, to: $to, what: $what,
        },)+)+]
    };
}

/// All of them.
pub const FAULTS: &[Fault] = faults! {
    "elementwise" "elementwise" "elementwise.cu" {
        "    map(ElementwiseParams p": "i += p.vectors * (LANES - 1);" => "i += p.vectors * LANES;",
            "the elements beyond the vectors are shifted";
        "    map(ElementwiseParams p": "if (i < p.count) {" => "if (i + 1 < p.count) {", "the last element is dropped";
        "": "step(~p.scalars >> index & 1)" => "step(1)", "a number for all elements is read as an array";
        "": "MAP2(sub, x, y, x - y)" => "MAP2(sub, x, y, y - x)", "operands swapped";
        "": "g*(1.0f - y) * (1.0f + y)" => "g*(1.0f - y) * (1.0f - y)", "a wrong sign in tanh's slope";
        "    map_sum(": "thread_index(); i < p.count; i += thread_count()) {" =>
            "thread_index(); i + 1 < p.count; i += thread_count()) {", "a sum without its tail";
        "finish_sum(T* out": "i < count; i += THREADS" => "i + 1 < count; i += THREADS", "the last partial sum is dropped";
        "    map_strided(": "to_f32(x1[at.operands[1]])" => "to_f32(x1[at.operands[0]])", "the other operand's offset";
    }
    "elementwise" "elementwise_any" "elementwise_any.cu" {
        "copy_transposed(": "        __syncthreads();" => "", "a tile is read before it is written";
        "DEVICE bool holds": "case RELATION_LE: return x <= y;" => "case RELATION_LE: return x < y;", "equals are not at most";
        "    select_strided(": "? at.operands[1] : at.operands[2]" => "? at.operands[2] : at.operands[1]",
            "the other operand's offset";
        "fill(void* out": "i < count * SIZE; i += thread_count()" => "i + 1 < count * SIZE; i += thread_count()",
            "the last byte is not written";
        "DEVICE f32 nearly": "| 1" => "", "an integer is rounded twice on its way to a half";
    }
    "elementwise" "elementwise" "common/block.cuh" {
        "DEVICE A tree_sum": "    __syncthreads();" => "", "a tree begins before its leaves are there";
    }
    "reduce" "reduce" "reduce.cu" {
        "struct Fold": "lanes[lane] = lane < count ? F::of(x[lane]) : F::empty();" => "lanes[lane] = F::of(x[lane]);",
            "what is beyond the end counts";
        "DEVICE S combine": "        __syncthreads();\n        if (y == 0) {" => "        if (y == 0) {",
            "warps' states are read before they are written";
        "DEVICE S combine": "threadIdx.x + width * step" => "threadIdx.x + width", "the neighbour's state";
        "merge(ReduceParams p": "part < p.parts; part += 32" => "part + 1 < p.parts; part += 32",
            "the last part is dropped";
        "struct variance": "d * d * (a.count * share)" => "d * d * share", "a wrong weight in a merged variance";
        "struct variance": "p.root != 0 ? __fsqrt_rn(value) : value" => "value", "no root";
        "struct Extreme": "b.index < a.index" => "b.index > a.index", "the last of equals";
        "struct logsumexp": "b.rescale(top);" => "", "a sum that is not rescaled to the new maximum";
        "DEVICE void load(const ReduceParams": "p.runs == 0 || count < GROUP<T>" => "count < GROUP<T>",
            "a group is read across the end of a run";
        "scan_lanes(ScanParams": "carry = F<A>::join(carry, totals[w]);" => "carry = F<A>::join(totals[w], F<A>::empty());",
            "a scan that forgets what it carried";
        "scan_lanes(ScanParams": "            __syncthreads();\n            A prefix" => "            A prefix",
            "warps' totals are read before they are written";
    }
    "sort" "sort" "sort.cu" {
        "": "p.descending == 0 ?" => "p.descending != 0 ?", "the other direction";
        "": "static_cast<u64>(x) ^ 0x8000000000000000ull" => "static_cast<u64>(x)", "negative numbers behind positive ones";
        "count_digits(": "found[threadIdx.x] = 0;\n        __syncthreads();" => "found[threadIdx.x] = 0;",
            "digits are counted before the counts are cleared";
        "sum_digits(": "counts[i] = before + sum - own;" => "counts[i] = before + sum;", "sums that hold their own count";
        "move(SortParams p": "__popc(peers & ((1u << lane) - 1))" => "__popc(peers & (1u << lane))",
            "equal digits get one place";
        "move(SortParams p": "start -= own;" => "", "digits begin where they end";
    }
    "index" "index" "index.cu" {
        "DEVICE bool valid": "wide < p.bound" => "wide <= p.bound", "the first index out of range is taken";
        "    gather(StridedParams": "static_cast<i64>(k) * p.step" => "static_cast<i64>(k)", "rows of one element";
        "    add_runs(": "incoming[job] = sum;" => "outgoing[job] = sum;", "a run's sum in the wrong place";
        "    join_runs(": "at += CHUNK, ++other" => "at += CHUNK, other += 2", "every second chunk of a run is dropped";
        "    join_runs(": "A sum = outgoing[job];" => "A sum = A(0);", "a run without its beginning";
        "mark_first(": "i == 0 || keys" => "i != 0 && keys", "the first run has no beginning";
        "number_runs(": "static_cast<u64>(numbers[i]) - 1" => "static_cast<u64>(numbers[i])", "runs are numbered from 1";
        "triangle(TriangleParams": "column - row <= p.diagonal" => "column - row < p.diagonal", "a diagonal less";
        "    one_hot(": "== i % classes" => "== i % classes + 1", "the neighbouring class";
    }
    "pool" "pool" "pool.cu" {
        "DEVICE Taps taps": "to = least(to, p.kernel[axis]);" => "", "windows without an end";
        "max_pool(PoolParams": "v > best || v != v" => "v >= best || v != v", "the last of equals";
        "max_pool_backward(": "y / stride[0] >= height" => "y / stride[0] > height", "one output too many";
        "DEVICE Span span": "least(start + p.kernel[axis], length + 2 * padding)" => "start + p.kernel[axis]",
            "a window that goes beyond the padding counts whole";
        "DEVICE f32 scale": "static_cast<f32>(columns.count)" => "static_cast<f32>(rows.count)", "squares for rectangles";
        "average_pool(PoolParams": "by > 0; by /= 2" => "by > 1; by /= 2", "half of the lanes' sums are dropped";
        "DEVICE Span readers": "(at - kernel) / stride + 1" => "(at - kernel) / stride", "one reader too many";
    }
    "batchnorm" "batchnorm" "batchnorm.cu" {
        " statistics(BatchNormParams": "    __syncthreads();" => "", "warps' statistics are read before they are written";
        " statistics(BatchNormParams": "own[lane].merge(theirs);" => "own[lane] = theirs;", "only the last warp counts";
        "    finish_statistics(": "i < p.parts * span" => "i + 1 < p.parts * span", "the last part is dropped";
        "    finish_sums(": "i < p.parts * span" => "i + 1 < p.parts * span", "the last part is dropped";
        "    normalise(": "if (p.flags & NORM_RESIDUAL) value += other[lane];" => "", "no residual";
        "DEVICE void load_gradient": "result[lane] > 0.0f" => "result[lane] >= 0.0f", "gradients through closed relus";
        "    gradient_sums(": "        __syncthreads();" => "", "warps' sums are read before they are written";
        "    gradient(BatchNormParams": "- normal * along[i]" => "+ normal * along[i]", "a wrong sign";
        "DEVICE void each": "n += p.parts * SLICES" => "n += SLICES", "parts that overlap";
    }
    "layernorm" "layernorm" "layernorm.cu" {
        "    forward(LayerNormParams": "__fdiv_rn(squares, width) + p.eps" => "__fdiv_rn(squares, width - 1.0f) + p.eps",
            "a divisor less by one";
        "    forward_rereading(": "p.flags & NORM_RESIDUAL ? sum : x" => "x", "statistics without the residual";
        "    forward_rereading(": "if (p.flags & NORM_CENTERED) center" => "center", "a mean where none is subtracted";
        "    backward(LayerNormParams": "along, scratch[1]" => "along, scratch[0]",
            "a sum is written over one that is still read";
        "    backward(LayerNormParams": "other = 1; other < WARPS" => "other = 2; other < WARPS", "a warp's rows are dropped";
        "    backward(LayerNormParams": "scale * (g[i][lane] - direct" => "scale * (g[i][lane]", "no mean of the gradient";
        "    column_partials(": "row < p.rows; row += gridDim.y" => "row + 1 < p.rows; row += gridDim.y",
            "the last row is dropped";
        "    channel_sums(": "* p.channels + channel] = direct;" => "* p.channels + channel] = along;", "the other sum";
        "    partial_sums(": "    __syncthreads();" => "", "sums are read before they are written";
        "    partial_sums(": "part < p.parts; part += 8" => "part + 1 < p.parts; part += 8", "the last part is dropped";
    }
    "softmax_xent" "softmax_xent" "softmax_xent.cu" {
        "struct Online": "sum *= expf(max - top);" => "", "a sum that is not rescaled to the new maximum";
        "softmax_rows(SoftmaxParams": "held[i][lane] -= max;" => "", "exponentials of the logits themselves";
        "softmax_columns(SoftmaxParams": "    __syncthreads();" => "", "maxima are read before they are written";
        "DEVICE f32 input_gradient": "y * (dy - sum)" => "y * dy - sum", "a misplaced factor";
        "    cross_entropy(CrossEntropyParams": "column < p.classes; column" => "column + L < p.classes; column",
            "the last classes are dropped";
        "    cross_entropy(CrossEntropyParams": "scratch[1]" => "scratch[0]", "one memory for two sums";
        "    cross_entropy_gradient(": "q[lane] += own;" => "q[lane] = own;", "no smoothing at the label";
        "    cross_entropy_gradient(": "total += own;" => "", "a gradient whose sum is not 0";
        "    nll_gradient(": "-upstream_of" => "upstream_of", "a wrong sign";
        "DEVICE f32 upstream_of": "p.flags & LOSS_MEAN ? __fdiv_rn(up, *divisor) : up" => "up",
            "the gradient of a sum for that of a mean";
        "    reduce_losses(CrossEntropyParams": "? static_cast<f64>(weight[label]) : 1.0" => "? 1.0 : 1.0",
            "a mean that counts rows, not weights";
        "    reduce_losses(CrossEntropyParams": "        __syncthreads();" => "", "sums are read before they are written";
    }
    "attention" "attention" "attention.cu" {
        "DEVICE void load_tile": "first + row < rows" => "first + row <= rows", "a row behind the last is read";
        "    forward(AttentionParams": "sum[i] *= factor;" => "", "a sum that is not rescaled to the new maximum";
        "lesser(KEYS, visible - key));": "        __syncthreads();" => "", "values are overwritten while they are read";
        "    forward(AttentionParams": "__fmaf_rn(max[i], LN_2, logf(total))" => "max[i] + logf(total)",
            "a maximum in powers of two";
        "DEVICE void score_gradients": "(gradient[i][j] - delta[i])" => "gradient[i][j]", "no sum of products";
        "    backward_keys(": "p.causal ? first_key / ROWS * ROWS : 0" => "p.causal ? first_key / ROWS * ROWS + ROWS : 0",
            "a causal tile is dropped";
        "    backward_keys(": "scale[i] = p.scale;" => "scale[i] = 1.0f;", "no scale";
        "    rotary(RotaryParams": "second * cosine + first * sine" => "second * cosine - first * sine", "a wrong sign";
    }
    "attention" "attention" "common/attention.cuh" {
        "DEVICE f32 masked_score": "p.causal && key > query" => "p.causal && key >= query", "a query does not see its own key";
    }
    "attention" "attention_mma" "attention_mma.cu" {
        "    forward(AttentionParams": "copy_async_wait<1>();" => "copy_async_wait<2>();",
            "keys are read before they have arrived";
        "// The keys are read": "        __syncthreads();" => "", "keys are overwritten while they are read";
        "    forward(AttentionParams": "key + KEYS - 1 <= first + warp * 16" => "key + KEYS - 1 <= first + warp * 16 + 15",
            "keys ahead of a query count";
        "    forward(AttentionParams": "result[tile][half * 2 + 1] *= factor;" => "", "every second column is not rescaled";
        "DEVICE void write_rows": "row + half * 8 >= rows" => "row + half * 8 > rows", "a row behind the last is written";
        "    backward_keys(": "            __syncthreads();\n            copy_tile" => "            copy_tile",
            "queries are overwritten while they are read";
        "    backward_keys(": "(of_k, gradient, shared_q)" => "(of_k, probability, shared_q)", "the other factor";
        "DEVICE void accumulate": "pair * 2 + lane / 16" => "pair * 2 + lane / 8 % 2", "swapped quarters of a fragment";
    }
    "random" "random" "random.cu" {
        "uniform(RandomParams": "to_f32(x) >= high ? from_f32<T>(low) : x" => "x", "the upper bound is drawn";
        " bernoulli(RandomParams": "words.w[lane] < p.threshold" => "words.w[lane] > p.threshold", "the other event";
        "DEVICE void store_four": "lane < 4 && i + lane < count" => "lane < 4 && i + lane <= count",
            "a number behind the last is written";
        "dropout(RandomParams": "__fmul_rn(to_f32(v.lanes[lane]), p.a)" => "to_f32(v.lanes[lane])", "no scale";
        "DEVICE bool whole": "    __syncthreads();\n    u64 end" => "    u64 end", "sums are read before they are written";
        "    multinomial(": "counts[index] = 0;" => "", "an index is drawn again";
        " gamma(RandomParams": "if (k == 0 && small)" => "if (small)", "a boost for each attempt";
    }
    "random" "random" "common/philox.cuh" {
        "": "key1 += 0xbb67ae85u;" => "key1 += 0xbb67ae86u;", "another key schedule";
    }
    "optimizer" "optimizer" "optimizer.cu" {
        "slot_of(": "slots[middle].first > block" => "slots[middle].first >= block", "the slot before";
        "DEVICE Numbers numbers": "1.0 - power(square, t)" => "1.0 - square", "one bias correction for all steps";
        "DEVICE Numbers numbers": "static_cast<f64>(t - 1)" => "static_cast<f64>(t)", "a rate that falls too early";
        "DEVICE void momentum": "n.first ? g :" => "false ? g :", "a velocity before the first step";
        "DEVICE void adam": "v = maximum(e.state[2], v);" => "", "the latest mean square, not the largest";
        "DEVICE void rmsprop": "centered ? e.state[2] : e.state[1]" => "e.state[2]", "another state than the velocity";
        "DEVICE void ftrl": "mul(sigma, e.p)" => "sigma", "the move so far is not accounted for";
        "DEVICE void update_four": "store_wide(s.master, index, p);" => "", "master weights that stay";
        "DEVICE void sweep": "(last - first) / 4 * 4" => "(last - first + 3) / 4 * 4", "numbers behind the last";
        "DEVICE u64 find_row": "low < count && indices[low] == static_cast<i64>(row)" => "low < count",
            "a row that is not there";
        " squares(": "for (u32 lane = 0; lane < 4; ++lane) {\n            four =" =>
            "for (u32 lane = 0; lane < 3; ++lane) {\n            four =", "every fourth number is dropped";
        " squares(": "four > 1e38f" => "false", "squares beyond f32";
        " total(": "sum - sum == 0.0" => "true", "an overflow is stepped on";
        " total(": "__dmul_rn(factor >= 1.0 ? 1.0 : factor, inverse)" => "factor >= 1.0 ? 1.0 : factor", "no unscaling";
        " total(": "steps[0] + 1 >= scaling.interval" => "steps[0] >= scaling.interval", "a scale that grows a step late";
        "DEVICE void rmsprop": "maximum(sub(v, mul(mean, mean)), 0.0f)" => "v", "a mean that is not taken out";
        "DEVICE void ftrl": "sub(z, minimum(maximum(z, -n.l1), n.l1))" => "z", "no threshold";
        "DEVICE void lion": ": c < 0.0f ? -1.0f : c;" => ": -1.0f;", "a step where there is no gradient";
        "DEVICE void lion": "mul(g, n.fresh_square)" => "mul(g, n.fresh)", "the mean forgets as fast as the direction";
        "DEVICE Numbers numbers": "decay = __dadd_rn(1.0, -__dmul_rn(rate, decay));\n    } else if (s.rule == OPTIMIZER_ADAGRAD)" =>
            "decay = 1.0;\n    } else if (s.rule == OPTIMIZER_ADAGRAD)", "no decay";
        "    step(const OptimizerSlot": "    __syncthreads();" => "", "options are read before they are written";
        "DEVICE void update_at": "*at<f32>(s.master, index) = e.p;" => "", "a master weight that stays";
    }
    "gemm" "gemm_wgmma" "gemm_wgmma.cu" {
        "DEVICE void put_sums": "        __syncwarp();\n        f32* at" => "        f32* at",
            "sums are overwritten while they are read";
        "    gemm_wgmma(": "wgmma_wait<1>();" => "", "a stage is given back while it is read";
        "    gemm_wgmma(": "barrier_wait(empty + ring.stage * 8, ring.parity ^ 1);" => "", "a stage is filled while it is read";
        "    gemm_wgmma(": "from + consumer * CHUNK" => "from", "the first consumer's rows for both";
        "    gemm_wgmma(": "slice + step);" => "1);", "sums that keep the tile before";
        "    gemm_wgmma(": "item.first_row + consumer * 64 + warp * 16" => "item.first_row + consumer * 64 + warp * 8",
            "a warp's rows over those of another";
    }
    "gemm" "gemm" "gemm.cu" {
        "DEVICE float4 load_quad": "VECTOR && exist >= 4" => "VECTOR && exist >= 3", "a number behind the last is read";
        "    gemm_simt(": "                __syncthreads();\n                buffer ^= 1;" => "                buffer ^= 1;",
            "a slice is read before it is written";
        "    gemm_mma(": "copy_async_wait<STAGES - 2>();" => "copy_async_wait<STAGES - 1>();",
            "a slice is read before it has arrived";
        " gemm_sum_splits(": "split < splits; ++split" => "split + 1 < splits; ++split", "the last part of k is dropped";
        "    gemm_mma(": "i32 end_k = min(p.k, begin_k + p.split);" => "i32 end_k = p.k;", "parts of k that overlap";
    }
    "gemm" "gemm" "common/gemm_tile.cuh" {
        "DEVICE void put(": "p.n % 4 == 0" => "true", "16-byte stores of rows that are not aligned";
        "DEVICE void place_tile": "min(row_tiles - group * ROWS_TOGETHER, ROWS_TOGETHER)" => "ROWS_TOGETHER",
            "tiles of rows that do not exist";
        "DEVICE i64 matrix_at": "matrix % p.inner * inner" => "matrix * inner", "the wrong matrix of the batch";
    }
    "gemm" "gemm_wgmma" "gemm_wgmma.cu" {
        "": "            wgmma_wait<1>();" => "", "a stage is given back while it is read";
        "": "barrier_wait(empty + ring.stage * 8, ring.parity ^ 1);" => "", "a stage is overwritten while it is read";
        "": "barrier_wait(full + ring.stage * 8, ring.parity);" => "", "a stage is read before it has arrived";
        "": "TRANSPOSE_A ? 16 * 128 : 32" => "TRANSPOSE_A ? 16 * 128 : 0", "the first step of K four times";
        "": "step * STEP_B / 16, slice + step);" => "step * STEP_B / 16, 1);", "the tile before counts, too";
        "": "row + chunk * 64" => "row", "the first 64 rows for all";
        "// The part before has been read.": "        __syncwarp();" => "", "sums are overwritten while they are read";
        "": "p.inner_a ? inner : 0" => "0", "the first A for every matrix";
    }
    "gemm" "gemm" "common/mma_tile.cuh" {
        "// The rows before have been read.": "        __syncwarp();" => "", "rows are overwritten while they are read";
    }
    "gemm" "gemm" "common/epilogue.cuh" {
        "DEVICE void finish(": "value[i] *= p.alpha;" => "value[i] *= 1.0f;", "no alpha";
        "DEVICE void finish(": "if (p.has_before) store_run<T, LANES>(before, p.vector, exist, value);" => "",
            "what the backward needs is not kept";
    }
    "conv" "conv" "conv.cu" {
        " conv_sum_splits(": "split < splits; ++split" => "split + 1 < splits; ++split", "the last part of k is dropped";
        "    conv_mma(": "            // Behind it the stage is there for all, and the other one has been read by all.\n            __syncthreads();" =>
            "", "a stage is read before it is written";
        "    depthwise_forward(": "if (c >= p.input_x) continue;" => "if (c > p.input_x) continue;", "a column of the next row";
        "    depthwise_input(": "p.outputs + channel * each) * pixels" => "p.outputs + channel) * pixels",
            "another channel's outputs";
        " depthwise_weight(": "half = 128; half > 0" => "half = 64; half > 0", "half of the sums are dropped";
        " col2im(": "if (c >= p.output_x) continue;" => "if (c > p.output_x) continue;", "a window too many";
        "DEVICE void put(": "bias[group * p.rows + row]" => "bias[row]", "the first group's bias";
    }
    "conv" "conv_nhwc" "conv_nhwc.cu" {
        "": "if (row >= high || column >= wide) return -1;" => "if (row > high || column >= wide) return -1;",
            "a row beyond the image";
        "": "tap % s.taps_x * s.each_x" => "tap % s.taps_x", "taps that do not reach the phase";
        "": "+ phase % phases_x;" => ";", "the first phase's positions for all";
        "": "bias + group * columns + column" => "bias + column", "the first group's bias";
        "": "copy_async_wait<STAGES - 2>();" => "copy_async_wait<STAGES - 1>();", "a slice is read before it has arrived";
        "": "bool parts = split < depth;" => "bool parts = false;", "every part of k as if it were all";
        "": "at + column % inputs" => "at", "the first channels for all";
    }
    "conv" "conv" "common/gather.cuh" {
        "DEVICE Phase phase_of": "(len - phase + stride - 1) / stride" => "(len - phase) / stride", "the last position of a phase";
        "DEVICE Phase phase_of": "result.first = tap;" => "result.first = 0;", "the first tap for every phase";
    }
};
