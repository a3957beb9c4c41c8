from .comparison_figures import draw_comparison_figures as draw_comparison_figures
from .comparison_report import compare as compare
from .comparison_report import write_comparison_report as write_comparison_report
from .comparison_tables import tables as tables
from .filter_figures import draw_filter_figures as draw_filter_figures
from .filter_report import write_filter_report as write_filter_report
