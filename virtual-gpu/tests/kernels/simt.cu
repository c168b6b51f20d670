extern "C" __global__ void __launch_bounds__(256) saxpy(float a, const float* __restrict__ x, float* y, int n){
  int i=blockIdx.x*blockDim.x+threadIdx.x; if(i<n) y[i]=a*x[i]+y[i]; }
extern "C" __global__ void __launch_bounds__(256) sgemm(const float* A,const float*B,float*C,int M,int N,int K){
  __shared__ float As[16][64]; __shared__ float Bs[16][64];
  int tx=threadIdx.x%16, ty=threadIdx.x/16; int bm=blockIdx.y*64,bn=blockIdx.x*64;
  float acc[4][4]={};
  for(int k0=0;k0<K;k0+=16){
    for(int e=threadIdx.x;e<1024;e+=256){ int k=e%16,m=e/16; As[k][m]=(bm+m<M&&k0+k<K)?A[(bm+m)*K+k0+k]:0.f; int n=e%64,kk=e/64; Bs[kk][n]=(bn+n<N&&k0+kk<K)?B[(k0+kk)*N+bn+n]:0.f; }
    __syncthreads();
    #pragma unroll
    for(int k=0;k<16;k++){ float a[4],b[4]; for(int i=0;i<4;i++){a[i]=As[k][ty*4+i];b[i]=Bs[k][tx*4+i];}
      for(int i=0;i<4;i++)for(int j=0;j<4;j++)acc[i][j]+=a[i]*b[j]; }
    __syncthreads();
  }
  for(int i=0;i<4;i++)for(int j=0;j<4;j++){int m=bm+ty*4+i,n=bn+tx*4+j; if(m<M&&n<N)C[m*N+n]=acc[i][j];}
}
extern "C" __global__ void pf(int*p,int n){ printf("hi %d %f %s\n",threadIdx.x,1.5,"abc"); if(p[0]>n) __trap(); }
extern "C" __device__ __noinline__ int fact(int n){ return n<2?1:n*fact(n-1);}
extern "C" __global__ void rec(int*p){ p[threadIdx.x]=fact(threadIdx.x&7);}
typedef int (*fp)(int); __device__ __noinline__ int f1(int x){return x+1;} __device__ __noinline__ int f2(int x){return x*2;}
__device__ fp table[2]={f1,f2};
extern "C" __global__ void ind(int*p){ p[threadIdx.x]=table[threadIdx.x&1](p[threadIdx.x]);}
