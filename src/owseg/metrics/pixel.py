"""stopgap"""
from dataclasses import dataclass
import numpy as np

@dataclass(frozen=True)
class PixelFigures:
    auroc: float; ap: float; fpr95: float; n_outlier: int; n_inlier: int; prevalence: float

class Exact:
    def __init__(self, per_image=False, operating_point="first"):
        self.out=[]; self.inl=[]
    def update(self, score, target):
        self.out.append(score[target==254]); self.inl.append(score[target<254])
    def compute(self):
        from sklearn.metrics import roc_auc_score, average_precision_score, roc_curve
        o=np.concatenate(self.out); i=np.concatenate(self.inl)
        if not len(o) or not len(i): return PixelFigures(*[float("nan")]*3,len(o),len(i),float("nan"))
        s=np.concatenate([o,i]); y=np.r_[np.ones(len(o)),np.zeros(len(i))]; s=np.maximum(s,-1e30)
        f,t,_=roc_curve(y,s)
        return PixelFigures(roc_auc_score(y,s),average_precision_score(y,s),f[np.argmax(t>=.95)],len(o),len(i),y.mean())
