//! Small kernels in PTX for the driver tests.

/// Kernels: `add` (out[i] = a[i] + b[i] for i < n), `mark` (out[blockIdx] = blockDim), `bounded` (.maxntid 64), `required`
/// (.reqntid 32), `shared` (static and dynamic shared memory), `scatter` (a store outside), `fail` (trap), `structure` (a
/// 16-byte parameter behind a byte), `cluster` (clusters of 2), `nothing`; a counter in global and a table in constant memory.
pub const PTX: &str = r#"
.version 7.8
.target sm_80
.address_size 64

.global .align 4 .u32 counter = 5;
.const .align 4 .u32 table[4] = {10, 20, 30, 40};

.visible .entry add(.param .u64 p_out, .param .u64 p_a, .param .u64 p_b, .param .u32 p_n)
{
    .reg .pred %p<2>;
    .reg .b32 %r<6>;
    .reg .f32 %f<4>;
    .reg .b64 %rd<11>;
    ld.param.u64 %rd1, [p_out];
    ld.param.u64 %rd2, [p_a];
    ld.param.u64 %rd3, [p_b];
    ld.param.u32 %r1, [p_n];
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r3, %ntid.x;
    mov.u32 %r4, %tid.x;
    mad.lo.u32 %r5, %r2, %r3, %r4;
    setp.ge.u32 %p1, %r5, %r1;
    @%p1 bra DONE;
    cvta.to.global.u64 %rd4, %rd1;
    cvta.to.global.u64 %rd5, %rd2;
    cvta.to.global.u64 %rd6, %rd3;
    mul.wide.u32 %rd7, %r5, 4;
    add.s64 %rd8, %rd5, %rd7;
    add.s64 %rd9, %rd6, %rd7;
    add.s64 %rd10, %rd4, %rd7;
    ld.global.f32 %f1, [%rd8];
    ld.global.f32 %f2, [%rd9];
    add.f32 %f3, %f1, %f2;
    st.global.f32 [%rd10], %f3;
DONE:
    ret;
}

.visible .entry mark(.param .u64 p_out)
{
    .reg .pred %p<2>;
    .reg .b32 %r<4>;
    .reg .b64 %rd<4>;
    mov.u32 %r1, %tid.x;
    setp.ne.u32 %p1, %r1, 0;
    @%p1 bra DONE;
    ld.param.u64 %rd1, [p_out];
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r3, %ntid.x;
    mul.wide.u32 %rd2, %r2, 4;
    add.s64 %rd3, %rd1, %rd2;
    st.global.u32 [%rd3], %r3;
DONE:
    ret;
}

.visible .entry bounded() .maxntid 64, 1, 1 { ret; }
.visible .entry required() .reqntid 32, 1, 1 { ret; }
.visible .entry nothing() { ret; }

.extern .shared .align 16 .b8 dynamic[];

.visible .entry shared(.param .u64 p_out)
{
    .shared .align 4 .b8 fixed[1024];
    .reg .b32 %r<3>;
    .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [p_out];
    mov.u32 %r1, 77;
    st.shared.u32 [fixed], %r1;
    st.shared.u32 [dynamic], %r1;
    ld.shared.u32 %r2, [dynamic];
    st.global.u32 [%rd1], %r2;
    ret;
}

.visible .entry scatter(.param .u64 p_out)
{
    .reg .b32 %r<2>;
    .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [p_out];
    mov.u32 %r1, 1;
    st.global.u32 [%rd1+64], %r1;
    ret;
}

.visible .entry fail() { trap; ret; }

.visible .entry structure(.param .u64 p_out, .param .b8 p_byte, .param .align 8 .b8 p_pair[16])
{
    .reg .b16 %h<2>;
    .reg .b32 %r<2>;
    .reg .b64 %rd<5>;
    ld.param.u64 %rd1, [p_out];
    ld.param.u8 %h1, [p_byte];
    ld.param.u64 %rd2, [p_pair];
    ld.param.u64 %rd3, [p_pair+8];
    cvt.u32.u16 %r1, %h1;
    st.global.u32 [%rd1], %r1;
    st.global.u64 [%rd1+8], %rd2;
    st.global.u64 [%rd1+16], %rd3;
    ret;
}

.visible .entry count()
{
    .reg .b32 %r<5>;
    ld.global.u32 %r1, [counter];
    ld.const.u32 %r2, [table+8];
    add.u32 %r3, %r1, %r2;
    st.global.u32 [counter], %r3;
    ret;
}
"#;

/// A kernel for clusters, which need sm_90: out[blockIdx] = rank of the block in its cluster.
pub const CLUSTER_PTX: &str = r#"
.version 7.8
.target sm_90
.address_size 64

.visible .entry rank(.param .u64 p_out)
{
    .reg .b32 %r<4>;
    .reg .b64 %rd<4>;
    ld.param.u64 %rd1, [p_out];
    mov.u32 %r1, %ctaid.x;
    mov.u32 %r2, %cluster_ctarank;
    mul.wide.u32 %rd2, %r1, 4;
    add.s64 %rd3, %rd1, %rd2;
    st.global.u32 [%rd3], %r2;
    ret;
}
"#;
