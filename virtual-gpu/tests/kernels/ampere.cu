typedef unsigned u32; typedef unsigned long long u64; typedef unsigned short u16;
__device__ __forceinline__ u32 sptr(const void*p){ u32 r; asm("{ .reg .u64 t; cvta.to.shared.u64 t, %1; cvt.u32.u64 %0, t; }":"=r"(r):"l"(p)); return r; }
// bf16 mma + ldmatrix + cp.async: C[M,N] = A[M,K] B[K,N], tile 64x64x32, 128 threads
extern "C" __global__ void __launch_bounds__(128) mma_gemm(const u16*A,const u16*B,float*C,int M,int N,int K){
  __shared__ __align__(16) u16 As[2][64][40]; __shared__ __align__(16) u16 Bs[2][32][72];
  int t=threadIdx.x,w=t/32,l=t%32; int bm=blockIdx.y*64,bn=blockIdx.x*64; int wm=(w/2)*32,wn=(w%2)*32;
  float acc[2][4][4]={};
  auto load=[&](int s,int k0){
    for(int e=t;e<256;e+=128){int r=e/4,c=(e%4)*8; const u16*g=A+(size_t)(bm+r)*K+k0+c; int ok=(bm+r<M && k0+c<K)?16:0;
      asm volatile("cp.async.cg.shared.global [%0],[%1],16,%2;"::"r"(sptr(&As[s][r][c])),"l"(g),"r"(ok)); }
    for(int e=t;e<256;e+=128){int r=e/8,c=(e%8)*8; const u16*g=B+(size_t)(k0+r)*N+bn+c; int ok=(k0+r<K && bn+c<N)?16:0;
      asm volatile("cp.async.cg.shared.global [%0],[%1],16,%2;"::"r"(sptr(&Bs[s][r][c])),"l"(g),"r"(ok)); }
    asm volatile("cp.async.commit_group;");
  };
  int T=(K+31)/32; load(0,0);
  for(int i=0;i<T;i++){ if(i+1<T) { load((i+1)&1,(i+1)*32); asm volatile("cp.async.wait_group 1;":::"memory"); } else asm volatile("cp.async.wait_group 0;":::"memory");
    __syncthreads();
    int s=i&1;
    for(int kk=0;kk<32;kk+=16){
      u32 a[2][4],b[4][2];
      for(int mi=0;mi<2;mi++) asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3},[%4];":"=r"(a[mi][0]),"=r"(a[mi][1]),"=r"(a[mi][2]),"=r"(a[mi][3]):"r"(sptr(&As[s][wm+mi*16+l%16][kk+(l/16)*8])));
      for(int ni=0;ni<4;ni++) asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1},[%2];":"=r"(b[ni][0]),"=r"(b[ni][1]):"r"(sptr(&Bs[s][kk+l%16][wn+ni*8])));
      for(int mi=0;mi<2;mi++)for(int ni=0;ni<4;ni++) asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};":"+f"(acc[mi][ni][0]),"+f"(acc[mi][ni][1]),"+f"(acc[mi][ni][2]),"+f"(acc[mi][ni][3]):"r"(a[mi][0]),"r"(a[mi][1]),"r"(a[mi][2]),"r"(a[mi][3]),"r"(b[ni][0]),"r"(b[ni][1]));
    }
    __syncthreads();
  }
  for(int mi=0;mi<2;mi++)for(int ni=0;ni<4;ni++)for(int i=0;i<4;i++){int r=bm+wm+mi*16+l/4+(i>>1)*8,c=bn+wn+ni*8+(l%4)*2+(i&1); if(r<M&&c<N) C[(size_t)r*N+c]=acc[mi][ni][i];}
}
extern "C" __global__ void histogram(const int*x,int n,int*h){ __shared__ int s[64]; if(threadIdx.x<64)s[threadIdx.x]=0; __syncthreads();
  for(int i=blockIdx.x*blockDim.x+threadIdx.x;i<n;i+=gridDim.x*blockDim.x) atomicAdd(&s[x[i]&63],1); __syncthreads(); if(threadIdx.x<64) atomicAdd(&h[threadIdx.x],s[threadIdx.x]); }
extern "C" __global__ void reduce(const float*x,int n,float*out){ float v=0; for(int i=threadIdx.x;i<n;i+=blockDim.x)v+=x[i];
  for(int o=16;o;o>>=1)v+=__shfl_xor_sync(~0u,v,o); __shared__ float s[32]; if(threadIdx.x%32==0)s[threadIdx.x/32]=v; __syncthreads();
  if(threadIdx.x<32){ v=threadIdx.x<blockDim.x/32?s[threadIdx.x]:0; for(int o=16;o;o>>=1)v+=__shfl_down_sync(~0u,v,o); if(threadIdx.x==0)*out=v; } }
extern "C" __global__ void scan(const int*x,int n,int*y){ int v=threadIdx.x<n?x[threadIdx.x]:0; int lane=threadIdx.x%32,w=threadIdx.x/32; for(int o=1;o<32;o<<=1){int u=__shfl_up_sync(~0u,v,o); if(lane>=o)v+=u;}
  __shared__ int s[32]; if(lane==31)s[w]=v; __syncthreads(); if(w==0){int q=lane<blockDim.x/32?s[lane]:0; for(int o=1;o<32;o<<=1){int u=__shfl_up_sync(~0u,q,o); if(lane>=o)q+=u;} s[lane]=q;} __syncthreads(); if(w)v+=s[w-1]; if(threadIdx.x<n)y[threadIdx.x]=v; }
extern "C" __global__ void gridbar(int*count,volatile int*flag,int*out){ // each block adds, waits for all
  __shared__ int dummy; if(threadIdx.x==0){ __threadfence(); int a=atomicAdd(count,1); if(a==gridDim.x-1){ __threadfence(); *flag=1;} while(*flag==0); __threadfence(); dummy=*(volatile int*)count; } __syncthreads(); out[blockIdx.x*blockDim.x+threadIdx.x]=dummy; }
extern "C" __global__ void spinlock(int*lock,int*counter){ bool done=false; while(!done){ if(atomicCAS(lock,0,1)==0){ __threadfence(); int v=*(volatile int*)counter; *(volatile int*)counter=v+1; __threadfence(); atomicExch(lock,0); done=true; } } }
