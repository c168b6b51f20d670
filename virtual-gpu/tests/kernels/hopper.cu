typedef unsigned u32; typedef unsigned long long u64; typedef unsigned short u16;
struct __align__(64) Map { u64 x[16]; };
__device__ __forceinline__ u32 sptr(const void*p){ u32 r; asm("{ .reg .u64 t; cvta.to.shared.u64 t, %1; cvt.u32.u64 %0, t; }":"=r"(r):"l"(p)); return r; }
__device__ __forceinline__ void wait(u32 bar,u32 par){ asm volatile("{ .reg .pred p; LAB%=: mbarrier.try_wait.parity.shared::cta.b64 p,[%0],%1; @p bra DONE%=; bra LAB%=; DONE%=: }"::"r"(bar),"r"(par):"memory"); }
__device__ u64 desc(u32 a){ return (u64)((a&0x3ffff)>>4)|((u64)1<<16)|((u64)(1024>>4)<<32)|((u64)1<<62); }
// C[M,N] = A[M,K] * B[N,K]^T ; cluster 2x1 along M: tile 64x128x64; B multicast: each CTA loads 64 rows of B to both
extern "C" __global__ void __launch_bounds__(256) __cluster_dims__(2,1,1) hop(const __grid_constant__ Map ma,const __grid_constant__ Map mb,float*C,int N,int K){
  extern __shared__ __align__(1024) unsigned char sm[];
  u16*As=(u16*)sm; u16*Bs=(u16*)(sm+2*8192); u32 full=sptr(sm+2*8192+2*16384), empty=full+16;
  u32 rank; asm("mov.u32 %0,%%cluster_ctarank;":"=r"(rank));
  int m0=blockIdx.x*64, n0=blockIdx.y*128; int T=K/64;
  if(threadIdx.x==0){ for(int i=0;i<2;i++){ asm volatile("mbarrier.init.shared::cta.b64 [%0],1;"::"r"(full+8*i)); asm volatile("mbarrier.init.shared::cta.b64 [%0],2;"::"r"(empty+8*i)); } asm volatile("fence.mbarrier_init.release.cluster;"); }
  asm volatile("barrier.cluster.arrive.release.aligned; barrier.cluster.wait.acquire.aligned;":::"memory");
  int wg=threadIdx.x/128;
  if(wg==0){
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    if(threadIdx.x==0){
      for(int i=0;i<T;i++){ int s=i&1; wait(empty+8*s,((i>>1)&1)^1);
        asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _,[%0],%1;"::"r"(full+8*s),"r"(8192+16384));
        asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0],[%1,{%2,%3}],[%4];"::"r"(sptr(As)+s*8192),"l"(&ma),"r"(i*64),"r"(m0),"r"(full+8*s):"memory");
        asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0],[%1,{%2,%3}],[%4],%5;"::"r"(sptr(Bs)+s*16384+rank*8192),"l"(&mb),"r"(i*64),"r"(n0+(int)rank*64),"r"(full+8*s),"h"((u16)3):"memory");
      } }
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    float d[64]; for(int i=0;i<64;i++)d[i]=0;
    for(int i=0;i<T;i++){ int s=i&1; wait(full+8*s,(i>>1)&1);
      asm volatile("wgmma.fence.sync.aligned;":::"memory");
      for(int k=0;k<4;k++){ u64 da=desc(sptr(As)+s*8192+k*32), db=desc(sptr(Bs)+s*16384+k*32);
        asm volatile("{ .reg .pred p; setp.ne.b32 p,%66,0; wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63},%64,%65,p,1,1,0,0; }"
        :"+f"(d[0]),"+f"(d[1]),"+f"(d[2]),"+f"(d[3]),"+f"(d[4]),"+f"(d[5]),"+f"(d[6]),"+f"(d[7]),"+f"(d[8]),"+f"(d[9]),"+f"(d[10]),"+f"(d[11]),"+f"(d[12]),"+f"(d[13]),"+f"(d[14]),"+f"(d[15]),"+f"(d[16]),"+f"(d[17]),"+f"(d[18]),"+f"(d[19]),"+f"(d[20]),"+f"(d[21]),"+f"(d[22]),"+f"(d[23]),"+f"(d[24]),"+f"(d[25]),"+f"(d[26]),"+f"(d[27]),"+f"(d[28]),"+f"(d[29]),"+f"(d[30]),"+f"(d[31]),"+f"(d[32]),"+f"(d[33]),"+f"(d[34]),"+f"(d[35]),"+f"(d[36]),"+f"(d[37]),"+f"(d[38]),"+f"(d[39]),"+f"(d[40]),"+f"(d[41]),"+f"(d[42]),"+f"(d[43]),"+f"(d[44]),"+f"(d[45]),"+f"(d[46]),"+f"(d[47]),"+f"(d[48]),"+f"(d[49]),"+f"(d[50]),"+f"(d[51]),"+f"(d[52]),"+f"(d[53]),"+f"(d[54]),"+f"(d[55]),"+f"(d[56]),"+f"(d[57]),"+f"(d[58]),"+f"(d[59]),"+f"(d[60]),"+f"(d[61]),"+f"(d[62]),"+f"(d[63]):"l"(da),"l"(db),"r"(i+k)); }
      asm volatile("wgmma.commit_group.sync.aligned;"); asm volatile("wgmma.wait_group.sync.aligned 0;":::"memory");
      if((threadIdx.x&127)<2){ asm volatile("{ .reg .b32 r; mapa.shared::cluster.u32 r,%0,%1; mbarrier.arrive.release.cluster.shared::cluster.b64 _,[r]; }"::"r"(empty+8*s),"r"(threadIdx.x&127)); }
    }
    int w=(threadIdx.x/32)&3,l=threadIdx.x&31;
    for(int i=0;i<64;i++){ int r=m0+w*16+l/4+((i>>1)&1)*8, c=n0+(i>>2)*8+(l&3)*2+(i&1); C[(size_t)r*N+c]=d[i]; }
  }
  asm volatile("barrier.cluster.arrive; barrier.cluster.wait;");
}
